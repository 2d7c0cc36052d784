// Visitors who read: product pages, profiles, orders, histories. The mix is in traffic/browse.json.
//   k6 run -e RATE=50 -e DURATION=1m loadtests/browse.js
import { options as arrivals, traffic, visit } from './lib/scenario.js';

const requests = traffic('./traffic/browse.json');

export const options = arrivals({
  checks: ['rate>0.99'],
  dropped_iterations: ['count==0'],
  http_req_duration: ['p(95)<500'],
});

export default function () {
  visit(requests, { 'answered 200': (answer) => answer.status === 200 });
}
