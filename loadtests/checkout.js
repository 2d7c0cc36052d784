// Visitors who buy: profile, product pages, then POST /orders with an Idempotency-Key. See traffic/checkout.json.
//   k6 run -e RATE=20 -e DURATION=1m loadtests/checkout.js
import { options as arrivals, traffic, visit } from './lib/scenario.js';

const requests = traffic('./traffic/checkout.json');

export const options = arrivals({
  checks: ['rate>0.99'],
  dropped_iterations: ['count==0'],
  http_req_duration: ['p(95)<1000'],
});

export default function () {
  visit(requests, { 'read or placed': (answer) => answer.status === 200 || answer.status === 201 });
}
