/** `value.name` and `value[key]` as in Jinja2's immutable sandbox: unsafe attributes are undefined. */

import { hashKey } from "./compare.js";
import { TemplateFault } from "./faults.js";
import { memberOf } from "./members.js";
import { isInt } from "./numbers.js";
import { repr } from "./print.js";
import { itemAt } from "./sequences.js";
import { formatMethod } from "./str-format.js";
import { Callable, Dict, isHost, isList, isText, textOf, typeName, Undefined, type Value } from "./values.js";

/** Methods that mutate a value; undefined in the sandbox. */
const mutators = {
  list: new Set(["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"]),
  dict: new Set(["clear", "pop", "popitem", "setdefault", "update"]),
};

/** Attributes of every Python object; undefined in the sandbox. */
const special = new Set(
  "class delattr dir doc eq format ge getattribute getstate gt hash init init_subclass le lt ne new reduce reduce_ex repr setattr sizeof str subclasshook"
    .split(" ")
    .map((name) => `__${name}__`),
);

/** The attribute first, then the item of that name. */
export function getAttribute(value: Value, name: string): Value {
  if (value instanceof Undefined) return special.has(name) ? unsafe(value, name) : value.fail();
  const attribute = safeAttribute(value, name);
  if (attribute !== undefined) return attribute;
  const item = itemOf(value, name);
  return item === undefined ? missing(value, name) : item;
}

/** The item first, then the attribute of that name. */
export function getItem(value: Value, key: Value): Value {
  if (value instanceof Undefined) return value.fail();
  const item = itemOf(value, key);
  if (item !== undefined) return item;
  const attribute = isText(key) ? safeAttribute(value, textOf(key)) : undefined;
  return attribute === undefined ? missing(value, key) : attribute;
}

/** The `attr` filter: never the item. */
export function getOnlyAttribute(value: Value, name: string): Value {
  if (value instanceof Undefined) return value.fail();
  const attribute = safeAttribute(value, name);
  return attribute === undefined ? missing(value, name) : attribute;
}

function safeAttribute(value: Value, name: string): Value | undefined {
  if (
    special.has(name) ||
    (isList(value) && mutators.list.has(name)) ||
    (value instanceof Dict && mutators.dict.has(name))
  ) {
    return unsafe(value, name);
  }
  if (isText(value) && (name === "format" || name === "format_map")) {
    return new Callable(`<function ${name}>`, formatMethod(value, name, { attribute: getAttribute, item: getItem }));
  }
  const attribute = isHost(value) ? value.attribute(name) : memberOf(value, name);
  return attribute !== undefined && name.startsWith("_") ? unsafe(value, name) : attribute;
}

const unsafe = (value: Value, name: string): Undefined =>
  new Undefined(`access to attribute ${repr(name)} of '${typeName(value)}' object is unsafe`, "SecurityError");

/** value[key], undefined where Python raises a LookupError or TypeError. */
function itemOf(value: Value, key: Value): Value | undefined {
  if (value instanceof Dict) {
    const hash = hashOf(key);
    return hash === undefined ? undefined : value.entries.get(hash)?.[1];
  }
  return isInt(key) ? itemAt(value, Number(key)) : undefined;
}

/** undefined for an unhashable key. */
function hashOf(key: Value): ReturnType<typeof hashKey> | undefined {
  try {
    return hashKey(key);
  } catch (error) {
    if (error instanceof TemplateFault && error.kind === "TypeError") return undefined;
    throw error;
  }
}

function missing(value: Value, key: Value): Undefined {
  const owner = value === null ? "None" : `'${typeName(value)} object'`;
  const what = isText(key) ? "attribute" : "element";
  return new Undefined(() => `${owner} has no ${what} ${repr(key)}`);
}
