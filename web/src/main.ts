// The frame of the page: views by the part after "#", the choice of a collection, the theme, the key.
import "./style.css";
import { explain, hasKey, keyWanted, modality, refresh, setKey, world } from "./api";
import { count, h, put } from "./dom";
import { asked, chosen, current, found, mapShown, told } from "./state";
import { welcome } from "./welcome";
import { CollectionsView } from "./views/collections";
import { DrawView } from "./views/draw";
import { NetView } from "./views/net";
import { SearchView } from "./views/search";

interface View {
  readonly element: HTMLElement;
  shown?(): void;
  hidden?(): void;
}

/** Views by their names in the address, and whether the map is beside them. */
const VIEWS: { name: string; title: string; map: boolean; make: () => View }[] = [
  { name: "search", title: "Search", map: true, make: () => new SearchView() },
  { name: "draw", title: "Draw", map: true, make: () => new DrawView() },
  { name: "net", title: "Inside the net", map: false, make: () => new NetView() },
  { name: "collections", title: "Collections", map: false, make: () => new CollectionsView() },
];

const THEMES = ["auto", "light", "dark"] as const;
const THEME = "nearness-theme";

// What was asked of one collection says nothing of another.
current.on(() => {
  found.set([]);
  asked.set(null);
  chosen.set(null);
});

const made = new Map<string, View>();
let shown: View | null = null;
/** Whether the server has listed its collections. */
let loaded = false;
const panel = h("main", { class: "panel", id: "main", tabindex: -1 });
const stagePlace = h("div", { class: "stage-place" });
const links = VIEWS.map(({ name, title }) => h("a", { href: `#/${name}` }, title));
const choice = h("select", { "aria-label": "Collection", onchange: () => current.set(choice.value) });
const theme = h("button", { type: "button", class: "tool", onclick: nextTheme });
const live = h("div", { class: "hidden", role: "status" });
const trouble = h("div", { class: "banner", role: "alert", hidden: true });
const keyButton = h("button", { type: "button", class: "tool", hidden: true, onclick: () => keyWanted.set("Another key?") }, "Key");

function nextTheme(): void {
  const now = THEMES.indexOf((localStorage.getItem(THEME) ?? "auto") as (typeof THEMES)[number]);
  localStorage.setItem(THEME, THEMES[(now + 1) % THEMES.length]!);
  showTheme();
}

function showTheme(): void {
  const wanted = localStorage.getItem(THEME) ?? "auto";
  if (wanted === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = wanted;
  put(theme, { light: "☀ Light", dark: "☾ Dark" }[wanted] ?? "◐ Auto");
  theme.setAttribute("aria-label", `Theme: ${wanted}`);
  document.documentElement.dispatchEvent(new Event("themechange"));
}

function route(): void {
  const name = location.hash.replace(/^#\/?/, "") || "search";
  const view = VIEWS.find((one) => one.name === name) ?? VIEWS[0]!;
  let instance = made.get(view.name);
  if (!instance) {
    instance = view.make();
    made.set(view.name, instance);
  }
  if (instance !== shown) shown?.hidden?.();
  shown = instance;
  // Of an empty server there is nothing to search and no map: say how to fill it.
  const empty = loaded && world.value.collections.length === 0;
  put(panel, empty && view.name === "search" ? welcome() : instance.element);
  document.body.classList.toggle("with-map", view.map && !empty);
  mapShown.set(view.map && !empty);
  document.title = `${view.title} · nearness`;
  links.forEach((link, at) => (VIEWS[at] === view ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current")));
  instance.shown?.();
}

function listCollections(): void {
  const { collections } = world.value;
  put(choice, ...collections.map((one) => h("option", { value: one.name }, `${one.name} (${count(one.points)})`)));
  const filled = collections.filter((one) => one.points > 0n);
  // Words first, then any texts: they can be searched by typing.
  const first = collections.find((one) => one.name === current.value)
    ?? filled.find((one) => one.embedder?.name === "words")
    ?? filled.find((one) => modality(one) === "text")
    ?? filled[0] ?? collections[0];
  choice.hidden = collections.length === 0;
  if (first) {
    choice.value = first.name;
    current.set(first.name);
  }
}

async function begin(): Promise<void> {
  try {
    await refresh();
    loaded = true;
    trouble.hidden = true;
    keyButton.hidden = !hasKey();
    route();
  } catch (error) {
    if (keyWanted.value !== null) return;
    put(trouble, explain(error), " ", h("button", { type: "button", class: "button small", onclick: () => void begin() }, "Try again"));
    trouble.hidden = false;
  }
}

/** Asks for a key, and tries with it. */
function keyDialog(): HTMLDialogElement {
  const input = h("input", { type: "password", autocomplete: "off", "aria-label": "API key", required: true, class: "wide" });
  const why = h("p", { role: "alert" });
  const dialog = h("dialog", { class: "key", "aria-label": "API key" },
    h("form", { method: "dialog", onsubmit: () => {
      setKey(input.value.trim());
      input.value = "";
      keyWanted.set(null);
      void begin();
    } },
      h("h2", {}, "API key"), why, input,
      h("p", { class: "fine" }, "It is kept for this tab only, and sent with every request as gRPC clients send it."),
      h("div", { class: "row" }, h("button", { class: "button primary" }, "Use this key"))));
  dialog.addEventListener("cancel", () => keyWanted.set(null));
  keyWanted.on((text) => {
    if (text === null) return;
    put(why, text);
    if (!dialog.open) dialog.showModal();
  });
  return dialog;
}

async function mapStage(): Promise<void> {
  // A part of its own: the renderer is most of the page's weight.
  const { Stage } = await import("./map/stage");
  put(stagePlace, new Stage().element);
}

document.getElementById("app")!.append(
  h("a", { href: "#main", class: "skip", onclick: (event: Event) => { event.preventDefault(); panel.focus(); } }, "Skip to the content"),
  h("header", { class: "top" },
    h("span", { class: "brand" }, h("i", { "aria-hidden": "true" }), "nearness"),
    h("nav", { "aria-label": "Views" }, ...links),
    h("span", { class: "spacer" }),
    choice, keyButton, theme),
  trouble,
  h("div", { class: "body" }, panel, stagePlace),
  live,
  keyDialog(),
);
showTheme();
world.on(listCollections);
current.on((name) => (choice.value = name));
told.on((text) => put(live, text));
window.addEventListener("hashchange", route);
route();
await mapStage();
await begin();
