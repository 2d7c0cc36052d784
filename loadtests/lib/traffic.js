// Expands a traffic file into its requests. Twin of costlab/lab/load/traffic.py: the same file and seed give the
// same i-th request in both (tests/unit/load/test_twins.py compares the first thousand under node).
import { Mulberry32 } from './mulberry32.js';
import { Zipf } from './zipf.js';

const PLACEHOLDER = /\{([a-z_]+)\}/g;
const ALONE = /^\{([a-z_]+)\}$/;

class Uniform {
  constructor(from, to) {
    this.from = from;
    this.size = to - from + 1;
  }

  draw(u) {
    return this.from + Math.floor(u * this.size);
  }
}

function distribution(key) {
  return key.distribution === 'zipf' ? new Zipf(key.s, key.from, key.to) : new Uniform(key.from, key.to);
}

// How many requests a stretch holds: those planned at 0, 1/rate, 2/rate, ... before its end.
export function plannedCount(rate, seconds) {
  return Math.ceil(rate * seconds - 1e-9);
}

export class Traffic {
  constructor(file, seed, run) {
    this.seed = seed;
    this.run = run;
    this.names = Object.keys(file.requests);
    this.templates = Object.values(file.requests);
    this.weight = this.templates.reduce((sum, template) => sum + template.weight, 0);
    this.keys = Object.entries(file.keys).map(([name, key]) => [name, distribution(key)]);
    this.used = this.templates.map((template) => new Set(JSON.stringify(template).match(PLACEHOLDER)));
  }

  request(index) {
    const numbers = Mulberry32.forRequest(this.seed, index);
    const choice = this.choose(numbers.next());
    const template = this.templates[choice];
    const values = { run: this.run, index };
    for (const [name, key] of this.keys) {
      if (this.used[choice].has(`{${name}}`)) values[name] = key.draw(numbers.next());
    }
    const headers = fill(template.headers || {}, values);
    const body = template.body == null ? null : JSON.stringify(fill(template.body, values));
    if (body !== null) headers['Content-Type'] = 'application/json';
    return { name: this.names[choice], method: template.method, path: fillText(template.path, values), headers, body };
  }

  choose(u) {
    let left = Math.floor(u * this.weight);
    let choice = 0;
    while (left >= this.templates[choice].weight) {
      left -= this.templates[choice].weight;
      choice += 1;
    }
    return choice;
  }
}

// A string that is one placeholder and nothing else becomes the number itself; within text it becomes digits.
function fill(template, values) {
  if (Array.isArray(template)) return template.map((item) => fill(item, values));
  if (template !== null && typeof template === 'object') {
    return Object.fromEntries(Object.entries(template).map(([key, item]) => [key, fill(item, values)]));
  }
  if (typeof template !== 'string') return template;
  const alone = template.match(ALONE);
  return alone ? lookUp(alone[1], values) : fillText(template, values);
}

function fillText(template, values) {
  return template.replace(PLACEHOLDER, (_, name) => lookUp(name, values));
}

function lookUp(name, values) {
  if (name in values) return values[name];
  throw new Error(`traffic file: no key named {${name}}; there are ${Object.keys(values).join(', ')}`);
}
