// Ids of pages: nine letters that can be read aloud. Each names a room of the signaling server.

// Without 0, 1, i, l and o, which are easily misread: 31^9 is about 2^44.
const LETTERS = '23456789abcdefghjkmnpqrstuvwxyz';
const ID = /^([2-9a-hjkmnp-z]{3})-?([2-9a-hjkmnp-z]{3})-?([2-9a-hjkmnp-z]{3})$/;

// What was typed or pasted, be it a link, as an id.
export function idOf(text) {
  let id = text.trim();
  if (/^https:/i.test(id) && URL.canParse(id)) id = new URL(id).searchParams.get('call') ?? id;
  const parts = ID.exec(id.toLowerCase());
  return parts ? parts.slice(1).join('-') : id;
}

// Whoever calls says who it is, and can say anything.
export function known(caller) {
  return typeof caller === 'string' && ID.test(caller) ? caller : 'somebody without an id';
}

export function fresh() {
  const id = [];
  while (id.length < 9) {
    // Those from 248 on are left out, so that all letters are equally likely.
    for (const byte of crypto.getRandomValues(new Uint8Array(16))) {
      if (byte < 248 && id.length < 9) id.push(LETTERS[byte % 31]);
    }
  }
  return id.join('').replace(ID, '$1-$2-$3');
}
