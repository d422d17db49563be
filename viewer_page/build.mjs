// Builds the page of '4dhumans view': scripts and style, bundled and minified, in one HTML file with places for the data.
// Usage: node build.mjs [OUTPUT]

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const folder = dirname(fileURLToPath(import.meta.url));
const output = process.argv[2] ?? join(folder, "../fourd_humans/viewer/data/page.html");
const read = (...path) => readFileSync(join(folder, ...path), "utf-8");

async function bundle(file) {
  const result = await build({
    entryPoints: [join(folder, "src", file)],
    bundle: true,
    minify: true,
    write: false,
    format: file.endsWith(".js") ? "iife" : undefined,
    target: ["es2022", "chrome111", "firefox115", "safari16.4"],
    charset: "utf8",
    legalComments: "none",
  });
  return result.outputFiles[0].text.trim();
}

const [script, style] = await Promise.all([bundle("main.js"), bundle("style.css")]);
if (/<\/?script|<!--/i.test(script) || /<\/style/i.test(style)) throw new Error("the bundle would end its element");
const policy = [
  "default-src 'none'",
  `script-src 'sha256-${createHash("sha256").update(script).digest("base64")}' 'wasm-unsafe-eval'`,
  "style-src 'unsafe-inline'",
  "img-src data: blob:",
  "media-src 'self' file: blob:",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");
const licences = ["three", "meshoptimizer"]
  .map((name) => {
    const { version } = JSON.parse(read("node_modules", name, "package.json"));
    const file = name === "three" ? "LICENSE" : "LICENSE.md";
    return `This page contains ${name} ${version}:\n\n${read("node_modules", name, file).trim()}`;
  })
  .join("\n\n");
if (licences.includes("--")) throw new Error("a licence would end its comment");
const filled = { POLICY: policy, LICENCES: licences, STYLE: style, SCRIPT: script };
const page = read("src", "page.html").replace(/%(POLICY|LICENCES|STYLE|SCRIPT)%/g, (_, name) => filled[name]);
writeFileSync(output, page);
console.log(`${output}: ${page.length} characters`);
