// Walks every public route once and checks status and shape: is this stack one that the other scenarios can load?
//   k6 run -e BASE_URL=http://127.0.0.1:8080 loadtests/smoke.js
import { check } from 'k6';
import exec from 'k6/execution';
import { call } from './lib/scenario.js';

const once = { executor: 'constant-arrival-rate', rate: 1, timeUnit: '10s', duration: '1s', preAllocatedVUs: 1 };
export const options = { scenarios: { once }, thresholds: { checks: ['rate==1'] } };

function expect(status, fields, method, path, body) {
  const headers = method === 'POST' ? { 'Content-Type': 'application/json', 'Idempotency-Key': run() + path } : {};
  const answer = call(method, path, body ? JSON.stringify(body) : null, headers, `${method} ${path}`);
  const missing = fields.filter((field) => !(field in (answer.json() || {})));
  check(answer, {
    [`${method} ${path} -> ${status}`]: () => answer.status === status,
    [`${method} ${path} has ${fields.join(', ')}`]: () => missing.length === 0,
  });
  return answer;
}

const run = () => String(exec.scenario.startTime);

export default function () {
  expect(200, ['id', 'name', 'email', 'tier', 'created_at'], 'GET', '/api/users/1');
  expect(200, ['users'], 'GET', '/api/users?ids=1,2,3');
  expect(201, ['id', 'name'], 'POST', '/api/users', { name: 'Smoke', email: `smoke-${run()}@example.com` });
  expect(200, ['id', 'name', 'category', 'price_cents', 'weight_grams', 'stock'], 'GET', '/api/products/1');
  const order = { user_id: 1, lines: [{ product_id: 5, quantity: 2 }] };
  const placed = expect(201, ['id', 'user_id', 'status', 'total_cents', 'created_at', 'lines'], 'POST', '/api/orders', order);
  expect(200, ['id', 'lines'], 'GET', placed.headers.Location || '/api/orders/no-location');
  expect(200, ['orders', 'next'], 'GET', '/api/users/1/orders?limit=5');
  expect(200, ['orders', 'revenue_cents', 'mean_total_cents', 'top_products'], 'GET', '/api/orders/stats');
  expect(404, ['type', 'title', 'status', 'detail', 'request_id'], 'GET', '/api/users/999999999');
  expect(200, ['openapi', 'paths'], 'GET', '/openapi.json');
}
