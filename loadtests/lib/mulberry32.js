// Mulberry32 (Tommy Ettinger, 2017, public domain): a 32-bit generator of a few operations whose whole state is
// one number. Twin of costlab/lab/load/mulberry32.py: equal seeds give equal numbers in both.

// MurmurHash3's 32-bit finaliser (Austin Appleby): spreads neighbouring numbers over all 32 bits.
export function mix32(value) {
  let h = value >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

export class Mulberry32 {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  // The stream of one request: request i draws the same numbers whichever virtual user sends it.
  static forRequest(seed, index) {
    return new Mulberry32(mix32(mix32(seed) ^ index));
  }

  // The next number, evenly spread over [0, 1).
  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let word = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return ((word ^ (word >>> 14)) >>> 0) / 4294967296;
  }
}
