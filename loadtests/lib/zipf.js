// Zipf's law by inverse CDF: rank k of n comes up in proportion to 1 / k^s. No table of n entries, because every
// k6 virtual user would hold its own. Twin of costlab/lab/load/zipf.py, which explains the arithmetic.
const EXACT = 64;
const STRIDE = 7919;

export class Zipf {
  constructor(s, from, to) {
    this.s = s;
    this.from = from;
    this.size = to - from + 1;
    this.head = [0];
    for (let k = 1; k <= EXACT; k += 1) this.head.push(this.head[k - 1] + Math.pow(k, -s));
    this.foot = Math.pow(EXACT, -s);
    this.total = this.harmonic(this.size);
  }

  // Sum of j^-s for j = 1..k: summed up to 64, Euler-Maclaurin from there.
  harmonic(k) {
    if (k <= EXACT) return this.head[k];
    const s = this.s;
    const high = Math.pow(k, -s);
    const low = this.foot;
    const area = s === 1 ? Math.log(k / EXACT) : (high * k - low * EXACT) / (1 - s);
    return this.head[EXACT] + area + (high - low) / 2 - (s / 12) * (high / k - low / EXACT);
  }

  // The smallest rank whose cumulative share is above u.
  rank(u) {
    const target = u * this.total;
    let low = 1;
    let high = this.size;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.harmonic(middle) > target) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  // The id for u in [0, 1): ranks are strewn over the ids, so that popular rows do not share a database page.
  draw(u) {
    return this.from + (((this.rank(u) - 1) * STRIDE) % this.size);
  }
}
