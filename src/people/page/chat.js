// The messages of a call.

// How many are kept.
const KEPT = 500;

export function say(list, text, mine) {
  const item = document.createElement('li');
  item.textContent = text;
  item.className = mine ? 'mine' : 'theirs';
  const who = document.createElement('span');
  who.className = 'unseen';
  who.textContent = mine ? 'You: ' : 'They: ';
  item.prepend(who);
  list.append(item);
  while (list.children.length > KEPT) list.firstElementChild.remove();
  list.scrollTop = list.scrollHeight;
}
