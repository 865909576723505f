// The first view of a server without collections: how to fill it.
import { h } from "./dom";

/** Commands that make a first collection, with a line about each. */
function commands(): [string, string][] {
  return [
    ["nearness quickstart", "Words, paragraphs and digits in a directory of their own, with this page."],
    ["nearness load --server http://HOST:PORT --collection notes notes.txt", "Your own texts: one line is one point. Use the gRPC address of this server."],
    ["nearness load --help", "Vectors, images, JSON lines and the other formats."],
  ];
}

/** Explains how to make a first collection, and how to look again. */
export function welcome(): HTMLElement {
  return h("div", { class: "view welcome" },
    h("h1", {}, "This server has no collections yet"),
    h("p", {}, "A collection holds points: texts, images or plain vectors. Make one from the command line:"),
    h("dl", { class: "commands" }, ...commands().flatMap(([command, about]) => [h("dt", {}, h("code", {}, command)), h("dd", {}, about)])),
    h("p", { class: "row" }, h("button", { type: "button", class: "button primary", onclick: () => location.reload() }, "Look again"),
      h("a", { class: "button", href: "#/draw" }, "Draw a digit")),
    h("p", { class: "fine" }, "With a key, this page lists only the collections that the key may read."));
}
