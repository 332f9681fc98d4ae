"use strict";
// A small GraphQL console that needs nothing from any network: ready queries, run, result, schema.
const ready = JSON.parse(document.getElementById("ready").textContent);
const [query, variables, result, pick] = ["query", "variables", "result", "pick"].map((id) => document.getElementById(id));
const show = () => {
  query.value = ready[pick.value].query;
  variables.value = JSON.stringify(ready[pick.value].variables, null, 1);
};
const run = async () => {
  result.textContent = "...";
  let given;
  try { given = JSON.parse(variables.value || "{}"); } catch (error) { result.textContent = `variables: ${error.message}`; return; }
  const answer = await fetch(location.origin + "/graphql", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ query: query.value, variables: given }),
  });
  const text = await answer.text();
  try { result.textContent = JSON.stringify(JSON.parse(text), null, 1); } catch { result.textContent = text; }
};
for (const name of Object.keys(ready)) pick.append(new Option(name, name));
pick.addEventListener("change", show);
document.getElementById("run").addEventListener("click", run);
document.addEventListener("keydown", (event) => { if (event.ctrlKey && event.key === "Enter") run(); });
show();
