// What every scenario shares: settings from `k6 run -e NAME=value`, arrival-rate options, and sending one request.
// RATE is per second; SETTLE (not measured) and DURATION are written as 30s; SEED fixes the requests. GAP is the pause
// between SETTLE and DURATION: DRAIN for the last answers, the rest, which comes without SETTLE too, for the costlab
// runner to read its probes. The runner also sets RUN, VUS, TIMEOUT and TRAFFIC.
import { check } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Traffic, plannedCount } from './traffic.js';

const BASE_URL = (__ENV.BASE_URL || 'http://127.0.0.1:8080').replace(/\/+$/, '');
const API_KEY = __ENV.API_KEY || 'demo';
const RATE = number('RATE', 30, (rate) => rate > 0);
const SEED = number('SEED', 1, (seed) => Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32);
const SETTLE = seconds(__ENV.SETTLE || '0s');
const DURATION = seconds(__ENV.DURATION || '30s');
const GAP = seconds(__ENV.GAP || '1500ms');
const DRAIN = Math.min(0.5, GAP);
// Virtual users for two seconds' requests, about 0.4 MB each: a stall as long drops nothing. A longer one makes k6 start
// more, up to MAX_VUS, at the price of a dropped request for each. Many more from the start would each be cold when its
// turn comes: at 80/s and with SETTLE 2s, in which each of them is used once, the median was 7.5 ms with 160 as with 40,
// and 10 ms with 400.
const VUS = Number(__ENV.VUS || Math.min(500, Math.max(10, Math.ceil(2 * RATE))));
const MAX_VUS = Number(__ENV.VUS || Math.max(128, VUS));
const TIMEOUT = __ENV.TIMEOUT || '10s';
const FIRST_MEASURED = plannedCount(RATE, SETTLE);

function number(name, usual, allowed) {
  const value = Number(__ENV[name] || usual);
  if (!allowed(value)) throw new Error(`${name}=${__ENV[name]} is not allowed: RATE is above 0, SEED from 0 to 2^32 - 1`);
  return value;
}

function seconds(text) {
  const units = { ms: 0.001, s: 1, m: 60, h: 3600 };
  const parts = [...text.matchAll(/([\d.]+)(ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join('') !== text) {
    throw new Error(`${text} is not a duration; write 500ms, 30s or 1m30s`);
  }
  return parts.reduce((sum, [, number, unit]) => sum + Number(number) * units[unit], 0);
}

// Half a period less than the whole, so that rounding never adds or loses the last request. k6 refuses durations
// below a second; what is beyond the planned count then, visit() leaves out.
function stretch(length, startTime, gracefulStop) {
  return {
    executor: 'constant-arrival-rate',
    rate: Math.round(RATE * 1000),
    timeUnit: '1000s',
    duration: microseconds(Math.max(1, (plannedCount(RATE, length) - 0.5) / RATE)),
    startTime: microseconds(startTime),
    gracefulStop,
    preAllocatedVUs: VUS,
    maxVUs: MAX_VUS,
  };
}

function microseconds(length) {
  return `${Math.round(length * 1e6)}us`;
}

export function options(thresholds) {
  const begin = (SETTLE > 0 ? Math.max(1, SETTLE) + DRAIN : 0) + GAP - DRAIN;
  const scenarios = { measure: stretch(DURATION, begin, '30s') };
  if (SETTLE > 0) scenarios.settle = stretch(SETTLE, 0, microseconds(DRAIN));
  return { scenarios, thresholds, discardResponseBodies: true, systemTags: ['name', 'status', 'scenario'] };
}

export function traffic(path) {
  return new Traffic(JSON.parse(open(__ENV.TRAFFIC || path)), SEED, __ENV.RUN);
}

// Sends the request that belongs to this iteration. What costlab needs travels as metadata, not as tags, which would
// make a time series of each request.
export function visit(requests, checks) {
  const { name, iterationInTest, startTime } = exec.scenario;
  const measured = name === 'measure';
  if (iterationInTest === 0) console.log(`costlab ${name} started ${startTime}`);
  if (iterationInTest >= plannedCount(RATE, measured ? DURATION : SETTLE)) return;
  if (!requests.run) requests.run = String(startTime);
  exec.vu.metrics.metadata.index = String(iterationInTest);
  const request = requests.request(measured ? FIRST_MEASURED + iterationInTest : iterationInTest);
  check(call(request.method, request.path, request.body, request.headers, request.name), checks);
}

export function call(method, path, body, headers, name) {
  return http.request(method, BASE_URL + path, body, {
    headers: { Accept: 'application/json', 'X-Api-Key': API_KEY, ...headers },
    tags: { name },
    timeout: TIMEOUT,
  });
}
