"use strict";
// The OpenAPI document as a page. Values enter as text, never as markup.
const make = (name, text, ...inside) => {
  const node = document.createElement(name);
  if (text) node.textContent = text;
  node.append(...inside);
  return node;
};

const curl = (method, path, example) => {
  const parts = [`curl -s ${location.origin}${path}`];
  if (method === "POST") parts.push("-H 'Content-Type: application/json'");
  if (keysNeeded) parts.push('-H "Authorization: Bearer $RINGWATCH_KEY"');
  if (example !== undefined) parts.push(`-d '${JSON.stringify(example).replaceAll("'", "'\\''")}'`);
  return parts.join(" \\\n  ");
};

const keysNeeded = document.body.dataset.keys === "true";

const parameters = (list) => {
  const rows = list.map((p) => make("tr", "", make("td", p.name), make("td", p.in), make("td", p.description || "")));
  return make("table", "", ...rows);
};

const send = async (path, example, into) => {
  into.textContent = "...";
  const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(example) };
  const answer = await fetch(location.origin + path, example === undefined ? {} : init);
  const text = await answer.text();
  let shown = text;
  try { shown = JSON.stringify(JSON.parse(text), null, 1); } catch { /* not JSON */ }
  into.textContent = `${answer.status} ${answer.statusText}\n${shown}`;
};

const operation = (path, method, about) => {
  const upper = method.toUpperCase();
  const box = make("details", "", make("summary", "", make("b", upper), make("code", path), ` ${about.summary || ""}`));
  if (about.description) box.append(make("p", about.description));
  if (about.parameters) box.append(parameters(about.parameters));
  const examples = about.requestBody?.content["application/json"].examples;
  for (const [name, { value }] of Object.entries(examples || { "": { value: undefined } })) {
    const result = make("pre");
    const button = make("button", `Send ${name}`.trim());
    button.addEventListener("click", () => send(path, value, result));
    box.append(make("pre", curl(upper, path, value)));
    if (!path.includes("{")) box.append(button, result);
  }
  const codes = Object.entries(about.responses).map(([code, r]) => make("tr", "", make("td", code), make("td", r.description)));
  box.append(make("table", "", ...codes));
  return box;
};

fetch(location.origin + "/openapi.json").then((answer) => answer.json()).then((spec) => {
  const main = document.querySelector("main");
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, about] of Object.entries(methods)) main.append(operation(path, method, about));
  }
  main.append(make("h2", "Schemas"));
  for (const [name, schema] of Object.entries(spec.components.schemas)) {
    main.append(make("details", "", make("summary", name), make("pre", JSON.stringify(schema, null, 1))));
  }
});

if (location.hash.startsWith("#problem-")) {
  document.getElementById("problems").open = true;
  document.getElementById(location.hash.slice(1))?.scrollIntoView();
}
