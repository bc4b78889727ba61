// A product as pages show it, whatever fields its index has.

import { config, language } from "./dom.js";

const ADDRESSES = ["path", "url", "href", "src"];

/** The values at a path, through objects and lists, and through names that have dots themselves. */
export function valuesAt(value, path) {
  const walk = (from, parts) => {
    if (Array.isArray(from)) return from.flatMap((one) => walk(one, parts));
    if (!parts.length) return [from];
    if (from === null || typeof from !== "object") return [];
    return parts.flatMap((_, place) => {
      const name = parts.slice(0, place + 1).join(".");
      return name in from ? walk(from[name], parts.slice(place + 1)) : [];
    });
  };
  return walk(value, path.split(".")).filter((one) => one !== null && one !== undefined && one !== "");
}

/** The titles of a product, the reader's language first. */
export function titles(product) {
  return valuesAt(product ?? {}, config.index.title).flatMap((one) => {
    if (typeof one !== "object") return [String(one)];
    const order = Object.keys(one).sort((a, b) => (b === language) - (a === language));
    return order.map((name) => String(one[name]));
  });
}

/** The media references of a product at some paths, in the order that their previews are counted in. */
export function references(product, paths) {
  const found = paths.flatMap((path) => valuesAt(product ?? {}, path)).map((one) => {
    if (typeof one === "object") return ADDRESSES.map((name) => one[name]).find((some) => typeof some === "string");
    return one;
  });
  return [...new Set(found.filter((one) => typeof one === "string" && one))];
}

/** The price with its currency; empty where there is none. */
export function price(product) {
  const value = product?.price;
  if (typeof value !== "number") return "";
  try {
    return new Intl.NumberFormat(language, { style: "currency", currency: product.currency }).format(value);
  } catch {
    return new Intl.NumberFormat(language).format(value);
  }
}

export const category = (product) => [product?.category ?? []].flat().map(String).join(" › ");
