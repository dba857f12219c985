"use strict";
// Shows openapi.json of this installation. Text only is put into the page, never markup from the document.

const METHODS = ["get", "put", "post", "patch", "delete"];

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  for (const child of children.flat()) if (child !== null && child !== "") element.append(child);
  return element;
}

function follow(api, schema) {
  if (!schema || !schema.$ref) return schema || {};
  return schema.$ref.slice(2).split("/").reduce((node, key) => node[key], api);
}

function typeName(api, schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const choices = schema.oneOf || schema.anyOf || schema.allOf;
  if (choices) return choices.map((s) => typeName(api, s)).join(" or ");
  if (schema.type === "array") return `list of ${typeName(api, schema.items)}`;
  if (schema.enum) return schema.enum.join(" | ");
  return [schema.type].flat().join(" or ");
}

function table(heads, rows) {
  const head = make("tr", {}, heads.map((text) => make("th", {}, text)));
  const body = rows.map((row) => make("tr", {}, row.map((cell) => make("td", {}, cell))));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, body));
}

function showFields(api, schema) {
  const target = follow(api, schema);
  const needed = new Set(target.required || []);
  const rows = Object.entries(target.properties || {}).map(([name, field]) => {
    const notes = [field.description || follow(api, field).description || ""];
    if (field.writeOnly && !notes[0].startsWith("Write-only")) notes.push("Write-only.");
    if (field.default !== undefined) notes.push(`Default: ${JSON.stringify(field.default)}.`);
    return [make("code", {}, name), typeName(api, field), needed.has(name) ? "yes" : "", notes.join(" ").trim()];
  });
  return rows.length ? table(["field", "type", "needed", ""], rows) : null;
}

function showContent(api, title, content) {
  return Object.entries(content || {}).flatMap(([media, part]) => [
    make("h4", {}, title, " ", make("span", { class: "note" }, `${media} ${typeName(api, part.schema)}`)),
    showFields(api, part.schema),
  ]);
}

function showParameters(api, parameters) {
  const rows = (parameters || []).map((parameter) => [
    make("code", {}, parameter.name),
    parameter.in,
    typeName(api, parameter.schema),
    parameter.required ? "yes" : "",
    parameter.description || "",
  ]);
  return rows.length ? [make("h4", {}, "Parameters"), table(["name", "in", "type", "needed", ""], rows)] : [];
}

function sampleValue(api, field) {
  const schema = follow(api, field);
  if (field.default !== undefined) return field.default;
  if (schema.enum) return schema.enum[0];
  const parts = schema.oneOf || schema.anyOf || schema.allOf;
  if (parts) return sampleValue(api, parts[0]);
  if (schema.properties) return sample(api, schema);
  return { integer: 1, boolean: true, array: [] }[schema.type] ?? "…";
}

function sample(api, schema) {
  const target = follow(api, schema);
  const names = (target.required || []).length ? target.required : Object.keys(target.properties || {}).slice(0, 1);
  return Object.fromEntries(names.map((name) => [name, sampleValue(api, target.properties[name])]));
}

function example(api, path, method, operation) {
  const open = (operation.security || []).some((choice) => Object.keys(choice).length === 0);
  const lines = [`curl --cacert ca.pem${method === "get" ? "" : ` -X ${method.toUpperCase()}`}`];
  if (!open) lines.push(`  -H "Authorization: Bearer $TOKEN"`);
  if (operation.requestBody) {
    const body = sample(api, operation.requestBody.content["application/json"].schema);
    lines.push(`  -H "Content-Type: application/json" -d '${JSON.stringify(body)}'`);
  }
  const dryRun = (operation.parameters || []).some((parameter) => parameter.name === "dry_run");
  lines.push(`  '${window.location.origin}${path}${dryRun ? "?dry_run=true" : ""}'`);
  return make("pre", {}, lines.join(" \\\n"));
}

function showOperation(api, path, method, operation) {
  const replies = Object.entries(operation.responses || {});
  const answers = replies.filter(([status]) => status < 400).flatMap(([status, answer]) =>
    showContent(api, `Answer ${status}`, answer.content));
  const refusals = replies.filter(([status]) => status >= 400).map(([status, answer]) =>
    make("li", {}, make("code", {}, status), ` ${answer.description || ""}`));
  return make("details", { id: operation.operationId || "" },
    make("summary", {}, make("span", { class: `method ${method}` }, method.toUpperCase()), make("code", {}, path),
      make("span", { class: "note" }, ` ${operation.summary || ""}`)),
    make("div", {}, make("p", {}, operation.description || ""), showParameters(api, operation.parameters),
      showContent(api, "Body", operation.requestBody && operation.requestBody.content), answers,
      refusals.length ? make("details", {}, make("summary", {}, "Refusals"), make("ul", {}, refusals)) : null,
      example(api, path, method, operation)));
}

function showTypes(api) {
  return Object.entries(api.components.schemas).sort().map(([name, schema]) =>
    make("details", { id: name }, make("summary", {}, make("code", {}, name)),
      make("div", {}, make("p", {}, schema.description || (schema.enum || []).join(" | ")), showFields(api, schema) || "")));
}

function show(api) {
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = (item[method].tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(showOperation(api, path, method, item[method]));
    }
  }
  const page = document.getElementById("page");
  page.replaceChildren(make("h1", {}, `${api.info.title} API `, make("small", { class: "note" }, api.info.version)),
    make("p", {}, api.info.description || "", " ", make("a", { href: "openapi.json" }, "openapi.json")));
  for (const tag of [...groups.keys()].sort()) page.append(make("h2", {}, tag), ...groups.get(tag));
  page.append(make("h2", {}, "Types"), ...showTypes(api));
  page.append(make("h2", {}, "Refusals"), make("p", {}, "Every refusal is application/problem+json:"),
    showFields(api, { $ref: "#/components/schemas/Problem" }) || "");
}

fetch("openapi.json")
  .then((answer) => { if (!answer.ok) throw new Error(`HTTP ${answer.status}`); return answer.json(); })
  .then(show)
  .catch((error) => { document.getElementById("page").textContent = `The description can't be read: ${error.message}`; });
