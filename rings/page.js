// Looking at a node: point to look, click to keep, arrow keys to go on, Escape to let go. Nothing is fetched.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const pictures = all("svg.picture, svg.timeline");
  const hint = document.querySelector(".hint");
  const close = document.querySelector(".close");
  const inspector = document.querySelector(".inspector");
  const nodes = new Map();
  for (const node of all("[data-node]")) {
    if (!nodes.has(node.dataset.node)) nodes.set(node.dataset.node, []);
    nodes.get(node.dataset.node).push(node);
  }
  const links = all("[data-ends]").map((element) => ({ element, ends: element.dataset.ends.split(" ") }));
  const uses = all("[data-thing]");
  const cards = new Map(all("[data-card]").map((card) => [card.dataset.card, card]));
  let kept = null;
  let shown = null;

  function look(key) {
    if (shown === key) return;
    shown = key;
    for (const picture of pictures) picture.classList.toggle("active", key !== null && cards.has(key));
    const near = new Set([key]);
    let lit = 0;
    for (const { element, ends } of links) {
      const on = ends.includes(key);
      element.classList.toggle("on", on);
      if (on) {
        ends.forEach((end) => near.add(end));
        if (element.classList.contains("link")) lit += 1;
      }
    }
    for (const use of uses) use.classList.toggle("on", use.dataset.thing === key);
    for (const picture of pictures) picture.classList.toggle("few", lit <= 32);
    for (const [name, elements] of nodes)
      for (const element of elements) {
        element.classList.toggle("on", name === key);
        element.classList.toggle("near", near.has(name));
      }
    for (const [name, card] of cards) card.hidden = name !== key;
    hint.hidden = cards.has(key);
  }

  function keep(key) {
    kept = kept === key ? null : key;
    for (const [name, elements] of nodes)
      for (const element of elements) {
        element.classList.toggle("kept", name === kept);
        if (element.matches(".picture .node")) element.setAttribute("aria-pressed", String(name === kept));
      }
    close.hidden = kept === null;
    inspector.classList.toggle("open", kept !== null);
    look(kept);
    history.replaceState(null, "", kept === null ? location.pathname + location.search : "#" + kept);
  }

  for (const [key, elements] of nodes)
    for (const element of elements) {
      if (!cards.has(key)) continue;
      element.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && kept === null && look(key));
      element.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && kept === null && look(null));
      element.addEventListener("click", (event) => event.target.closest("button.id") || keep(key));
    }

  for (const picture of all("svg.picture")) {
    const own = all("[data-node]", picture).sort((a, b) => rank(a) - rank(b));
    if (own.length) own[0].setAttribute("tabindex", "0");
    picture.addEventListener("focusin", (event) => {
      const node = event.target.closest("[data-node]");
      if (!node) return;
      own.forEach((other) => other.setAttribute("tabindex", other === node ? "0" : "-1"));
      if (kept === null) look(node.dataset.node);
    });
    picture.addEventListener("focusout", () => kept === null && look(null));
    picture.addEventListener("keydown", (event) => {
      const at = own.indexOf(event.target.closest("[data-node]"));
      if (at < 0) return;
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step) own[(at + step + own.length) % own.length].focus();
      else if (event.key === "Home") own[0].focus();
      else if (event.key === "End") own[own.length - 1].focus();
      else if (event.key === "Enter" || event.key === " ") keep(own[at].dataset.node);
      else return;
      event.preventDefault();
    });
  }

  function rank(node) {
    return (node.classList.contains("thing") ? 0 : 1000) + Number(node.dataset.node.slice(1));
  }

  const wanted = location.hash.slice(1); // an address that ends in #t0 opens with that node kept
  if (cards.has(wanted)) keep(wanted);

  close.addEventListener("click", () => keep(kept));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && kept !== null) keep(kept);
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.id");
    if (!button) return;
    await copy(button.dataset.copy);
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1200);
  });

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      area.className = "aside";
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }
})();
