// Readers of order histories, first pages and deep ones. The mix is in traffic/histories.json.
//   k6 run -e RATE=20 -e DURATION=1m loadtests/histories.js
import { options as arrivals, traffic, visit } from './lib/scenario.js';

const requests = traffic('./traffic/histories.json');

export const options = arrivals({
  checks: ['rate>0.99'],
  dropped_iterations: ['count==0'],
  http_req_duration: ['p(95)<1000'],
});

export default function () {
  visit(requests, { 'answered 200': (answer) => answer.status === 200 });
}
