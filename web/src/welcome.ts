// The first view of a server without collections: how to load data.
import { h } from "./dom";

/** Commands that create a first collection, each with a description. */
function commands(): [string, string][] {
  return [
    ["nearness quickstart", "Words, paragraphs and digits in a separate directory, with this page."],
    ["nearness load --server http://HOST:PORT --collection notes notes.txt", "Your own texts: one line is one point. Use the gRPC address of this server."],
    ["nearness load --help", "Vectors, images, JSON lines and the other formats."],
  ];
}

/** Shows how to create a first collection, and a button that reloads the page. */
export function welcome(): HTMLElement {
  return h("div", { class: "view welcome" },
    h("h1", {}, "This server has no collections yet"),
    h("p", {}, "A collection holds points: texts, images or plain vectors. Create one from the command line:"),
    h("dl", { class: "commands" }, ...commands().flatMap(([command, about]) => [h("dt", {}, h("code", {}, command)), h("dd", {}, about)])),
    h("p", { class: "row" }, h("button", { type: "button", class: "button primary", onclick: () => location.reload() }, "Reload"),
      h("a", { class: "button", href: "#/draw" }, "Draw a digit")),
    h("p", { class: "fine" }, "With a key, this page lists only the collections that the key may read."));
}
