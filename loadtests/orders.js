// Visitors who place an order and do nothing else: jobs for the worker. See traffic/orders.json.
//   k6 run -e RATE=20 -e DURATION=1m loadtests/orders.js
import { options as arrivals, traffic, visit } from './lib/scenario.js';

const requests = traffic('./traffic/orders.json');

export const options = arrivals({
  checks: ['rate>0.99'],
  dropped_iterations: ['count==0'],
  http_req_duration: ['p(95)<1000'],
});

export default function () {
  visit(requests, { 'placed': (answer) => answer.status === 201 });
}
