// Builds assets/sprites/ from npm packages of emoji art: called by `cargo xtask sprites`, which installs the packages.
//
// node xtask/sprites.mjs PACKAGES NOUNS OUT
//   PACKAGES  the folder whose node_modules has the packages, at the versions that `xtask/src/sprites.rs` names
//   NOUNS     xtask/nouns.json: label, plural, code point and the name in each package, in the curated order
//   OUT       the folder to write: sprites.pack, index.json, NOTICE
//
// Every sprite is cropped to its alpha box and fits in 104 x 104 px. The pack is the WebP files one after another; the
// index has, by noun and style, the offset and length of each.

import { createRequire } from "node:module";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

const [packages, nounsPath, out] = process.argv.slice(2);
const require = createRequire(path.resolve(packages, "package.json"));
const sharp = require("sharp");

/// The largest object of a scene is 102 px high or wide.
const SIDE = 104;
/// Alpha that still counts as empty when a sprite is cropped: soft halos would leave it floating above its shadow.
const FAINT = 24;
/// Vector sprites are drawn this large and then reduced, which is smoother than drawing them small.
const DRAWN = 512;
const STYLES = ["3D", "flat", "cartoon"];

const json = (file) => JSON.parse(readFileSync(file, "utf8"));
const folder = (name) => path.resolve(packages, "node_modules", name);

const threeD = folder("@lobehub/fluent-emoji-3d");
const iconSets = {
  flat: json(path.join(folder("@iconify-json/fluent-emoji-flat"), "icons.json")),
  cartoon: json(path.join(folder("@iconify-json/noto"), "icons.json")),
};
const known = new Set(json(path.join(folder("emojibase-data"), "en/data.json")).map((e) => e.hexcode.toLowerCase()));
const withoutSelector = (code) => code.replaceAll("-fe0f", "");
const knownPlain = new Set([...known].map(withoutSelector));

function svg(set, name) {
  let icon = set.icons[name];
  const alias = set.aliases?.[name];
  if (!icon && alias) icon = set.icons[alias.parent];
  if (!icon) throw new Error(`no icon ${name} in ${set.prefix}`);
  const width = icon.width ?? set.width ?? set.height ?? 16;
  const height = icon.height ?? set.height ?? 16;
  const box = `${icon.left ?? 0} ${icon.top ?? 0} ${width} ${height}`;
  return Buffer.from(
    `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" ` +
      `width="${DRAWN}" height="${(DRAWN * height) / width}" viewBox="${box}">${icon.body}</svg>`,
  );
}

async function sprite(noun, style) {
  const source =
    style === "3D" ? readFileSync(path.join(threeD, "assets", `${noun["3d"]}.webp`)) : svg(iconSets[style], noun[style]);
  const { data, info } = await sharp(source).ensureAlpha().raw().toBuffer({ resolveWithObject: true });
  let [left, top, right, bottom] = [info.width, info.height, -1, -1];
  for (let y = 0; y < info.height; y++) {
    for (let x = 0; x < info.width; x++) {
      if (data[(y * info.width + x) * 4 + 3] <= FAINT) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
  }
  if (right < 0) throw new Error(`${noun.label}, ${style}: nothing to see`);
  return sharp(data, { raw: { width: info.width, height: info.height, channels: 4 } })
    .extract({ left, top, width: right - left + 1, height: bottom - top + 1 })
    .resize(SIDE, SIDE, { fit: "inside", kernel: "lanczos3" })
    .webp({ quality: 88, alphaQuality: 80, effort: 4 })
    .toBuffer();
}

const nouns = json(nounsPath);
const parts = [];
let offset = 0;
const lines = [];
for (const noun of nouns) {
  if (!knownPlain.has(withoutSelector(noun.code))) throw new Error(`${noun.label}: no emoji ${noun.code}`);
  const places = [];
  for (const style of STYLES) {
    const bytes = await sprite(noun, style);
    parts.push(bytes);
    places.push([offset, bytes.length]);
    offset += bytes.length;
  }
  const { label, plural, code } = noun;
  lines.push(JSON.stringify({ label, plural, code, sprites: places }));
}

mkdirSync(out, { recursive: true });
writeFileSync(path.join(out, "sprites.pack"), Buffer.concat(parts));
writeFileSync(
  path.join(out, "index.json"),
  `{"format": "migm-sprites", "version": 1, "bytes": ${offset}, "styles": ${JSON.stringify(STYLES)}, "nouns": [\n` +
    `${lines.join(",\n")}\n]}\n`,
);
writeFileSync(path.join(out, "NOTICE"), notice());
console.log(`${nouns.length} nouns, ${parts.length} sprites, ${offset} bytes`);

function notice() {
  const version = (name) => json(path.join(folder(name), "package.json"));
  const info = (name) => json(path.join(folder(name), "info.json"));
  const line = (name) => {
    const about = version(name);
    return `npm ${about.name} ${about.version}, ${about.license}`;
  };
  const art = (name) => {
    const { author, license } = info(name);
    return `Art: ${author.name} (${author.url}), ${license.title}: ${license.url}`;
  };
  const emojibase = readFileSync(path.join(folder("emojibase-data"), "LICENSE"), "utf8");
  const copyright = emojibase.split("\n").find((row) => row.startsWith("Copyright"));
  const permission = emojibase.slice(emojibase.indexOf("Permission is hereby granted")).trim();
  return `The sprites in this folder were cropped and reduced from the art of three emoji sets. Made by \`cargo xtask sprites\`.

Style "3D"
  ${line("@lobehub/fluent-emoji-3d")}, by ${version("@lobehub/fluent-emoji-3d").author}
  ${art("@iconify-json/fluent-emoji-flat")}
  Copyright (c) Microsoft Corporation.

Style "flat"
  ${line("@iconify-json/fluent-emoji-flat")}
  ${art("@iconify-json/fluent-emoji-flat")}
  Copyright (c) Microsoft Corporation.

Style "cartoon"
  ${line("@iconify-json/noto")}
  ${art("@iconify-json/noto")}
  Copyright Google Inc. Changed: rasterised, cropped, reduced.
  Licensed under the Apache License, Version 2.0; a copy is at https://www.apache.org/licenses/LICENSE-2.0.

Names
  ${line("emojibase-data")}, some of them changed
  ${copyright}

The MIT licence, under which all but the style "cartoon" is used:

${permission}
`;
}
