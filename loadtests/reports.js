// Readers of orders, and now and then the statistics page. The mix is in traffic/reports.json.
//   k6 run -e RATE=30 -e DURATION=1m loadtests/reports.js
import { options as arrivals, traffic, visit } from './lib/scenario.js';

const requests = traffic('./traffic/reports.json');

export const options = arrivals({
  checks: ['rate>0.99'],
  dropped_iterations: ['count==0'],
  http_req_duration: ['p(95)<500'],
});

export default function () {
  visit(requests, { 'answered 200': (answer) => answer.status === 200 });
}
