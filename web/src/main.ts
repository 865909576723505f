// The shell of the page: views by URL fragment, collection selector, theme, key dialog.
import "./style.css";
import { explain, hasKey, keyPrompt, modality, refresh, setKey, catalog } from "./api";
import { count, h, put } from "./dom";
import { activeQuery, chosen, current, found, mapShown, announcement } from "./state";
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

/** Views by URL fragment; `map` shows the map beside the view. */
const VIEWS: { name: string; title: string; map: boolean; create: () => View }[] = [
  { name: "search", title: "Search", map: true, create: () => new SearchView() },
  { name: "draw", title: "Draw", map: true, create: () => new DrawView() },
  { name: "net", title: "Inside the net", map: false, create: () => new NetView() },
  { name: "collections", title: "Collections", map: false, create: () => new CollectionsView() },
];

const THEMES = ["auto", "light", "dark"] as const;
const THEME = "nearness-theme";

// Results of one collection do not apply to another.
current.on(() => {
  found.set([]);
  activeQuery.set(null);
  chosen.set(null);
});

const instances = new Map<string, View>();
let shown: View | null = null;
/** Whether the collections have been listed. */
let loaded = false;
const panel = h("main", { class: "panel", id: "main", tabindex: -1 });
const stageSlot = h("div", { class: "stage-slot" });
const links = VIEWS.map(({ name, title }) => h("a", { href: `#/${name}` }, title));
const collectionSelect = h("select", { "aria-label": "Collection", onchange: () => current.set(collectionSelect.value) });
const theme = h("button", { type: "button", class: "tool", onclick: nextTheme });
const liveRegion = h("div", { class: "hidden", role: "status" });
const banner = h("div", { class: "banner", role: "alert", hidden: true });
const keyButton = h("button", { type: "button", class: "tool", hidden: true, onclick: () => keyPrompt.set("Enter another key.") }, "Key");

function nextTheme(): void {
  const now = THEMES.indexOf((localStorage.getItem(THEME) ?? "auto") as (typeof THEMES)[number]);
  localStorage.setItem(THEME, THEMES[(now + 1) % THEMES.length]!);
  showTheme();
}

function showTheme(): void {
  const mode = localStorage.getItem(THEME) ?? "auto";
  if (mode === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = mode;
  put(theme, { light: "☀ Light", dark: "☾ Dark" }[mode] ?? "◐ Auto");
  theme.setAttribute("aria-label", `Theme: ${mode}`);
  document.documentElement.dispatchEvent(new Event("themechange"));
}

function route(): void {
  const name = location.hash.replace(/^#\/?/, "") || "search";
  const view = VIEWS.find((one) => one.name === name) ?? VIEWS[0]!;
  let instance = instances.get(view.name);
  if (!instance) {
    instance = view.create();
    instances.set(view.name, instance);
  }
  if (instance !== shown) shown?.hidden?.();
  shown = instance;
  // An empty server has nothing to search and no map: show how to load data.
  const empty = loaded && catalog.value.collections.length === 0;
  put(panel, empty && view.name === "search" ? welcome() : instance.element);
  document.body.classList.toggle("with-map", view.map && !empty);
  mapShown.set(view.map && !empty);
  document.title = `${view.title} · nearness`;
  links.forEach((link, at) => (VIEWS[at] === view ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current")));
  instance.shown?.();
}

function listCollections(): void {
  const { collections } = catalog.value;
  put(collectionSelect, ...collections.map((one) => h("option", { value: one.name }, `${one.name} (${count(one.points)})`)));
  const filled = collections.filter((one) => one.points > 0n);
  // Prefers words, then other texts, because they can be searched by typing.
  const first = collections.find((one) => one.name === current.value)
    ?? filled.find((one) => one.embedder?.name === "words")
    ?? filled.find((one) => modality(one) === "text")
    ?? filled[0] ?? collections[0];
  collectionSelect.hidden = collections.length === 0;
  if (first) {
    collectionSelect.value = first.name;
    current.set(first.name);
  }
}

async function start(): Promise<void> {
  try {
    await refresh();
    loaded = true;
    banner.hidden = true;
    keyButton.hidden = !hasKey();
    route();
  } catch (error) {
    if (keyPrompt.value !== null) return;
    put(banner, explain(error), " ", h("button", { type: "button", class: "button small", onclick: () => void start() }, "Try again"));
    banner.hidden = false;
  }
}

/** Creates the dialog for the key. */
function keyDialog(): HTMLDialogElement {
  const input = h("input", { type: "password", autocomplete: "off", "aria-label": "API key", required: true, class: "wide" });
  const reason = h("p", { role: "alert" });
  const dialog = h("dialog", { class: "key", "aria-label": "API key" },
    h("form", { method: "dialog", onsubmit: () => {
      setKey(input.value.trim());
      input.value = "";
      keyPrompt.set(null);
      void start();
    } },
      h("h2", {}, "API key"), reason, input,
      h("p", { class: "fine" }, "The key is stored for this tab only and sent with every request."),
      h("div", { class: "row" }, h("button", { class: "button primary" }, "Use this key"))));
  dialog.addEventListener("cancel", () => keyPrompt.set(null));
  keyPrompt.on((text) => {
    if (text === null) return;
    put(reason, text);
    if (!dialog.open) dialog.showModal();
  });
  return dialog;
}

async function mapStage(): Promise<void> {
  // Loaded separately, because the renderer is most of the page's size.
  const { Stage } = await import("./map/stage");
  put(stageSlot, new Stage().element);
}

document.getElementById("app")!.append(
  h("a", { href: "#main", class: "skip", onclick: (event: Event) => { event.preventDefault(); panel.focus(); } }, "Skip to the content"),
  h("header", { class: "top" },
    h("span", { class: "brand" }, h("i", { "aria-hidden": "true" }), "nearness"),
    h("nav", { "aria-label": "Views" }, ...links),
    h("span", { class: "spacer" }),
    collectionSelect, keyButton, theme),
  banner,
  h("div", { class: "body" }, panel, stageSlot),
  liveRegion,
  keyDialog(),
);
showTheme();
catalog.on(listCollections);
current.on((name) => (collectionSelect.value = name));
announcement.on((text) => put(liveRegion, text));
window.addEventListener("hashchange", route);
route();
await mapStage();
await start();
