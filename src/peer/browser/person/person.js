// A person's part in a run. The server calls the functions of `window.harness` over a WebSocket that this page opens: each
// `{id, call, args}` is answered by `{id, result}` or `{id, error}`.

import '/harness/peer.js';
import { allow } from '/harness/media.js';

const element = (id) => document.getElementById(id);
// A call that got that far went well; what it was like is in the report.
let media = false;
let failed = null;

const socket = new WebSocket(`wss://${location.host}/join/ws?${location.search.slice(1)}`);

socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (message.place) invite(message.place);
  else if (message.refused) finish('bad', 'Not in the run', message.refused);
  else answer(message);
};

socket.onclose = () => {
  switch (document.body.dataset.state) {
    case 'connecting':
      finish('bad', 'No connection', `The server does not answer, or this device does not trust its certificate: get
        ${location.origin}/ca.pem, compare it with the terminal, install it, and load this page again.`);
      break;
    case 'invited':
    case 'joined':
      finish('bad', 'No connection', 'The run has ended, or the connection to it is lost.');
      break;
  }
};

function invite({ run, peer }) {
  document.body.dataset.state = 'invited';
  element('run').textContent = run;
  element('peer').textContent = peer;
  element('invitation').hidden = false;
  tell('wait', 'Invited');
  element('join').onclick = join;
}

// In the gesture, for what browsers allow in one only.
async function join() {
  const context = new AudioContext();
  context.resume();
  const remote = element('remote');
  remote.srcObject = new MediaStream();
  remote.volume = 0.3;
  remote.play().catch(() => {});
  allow({ context });

  const camera = element('camera').checked;
  element('join').disabled = true;
  if (camera) {
    try {
      const video = { width: 320, height: 240, frameRate: 20 };
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video });
      allow({ stream });
      const own = Object.assign(document.createElement('video'), { srcObject: stream, muted: true, playsInline: true });
      element('own').append(own);
      own.play().catch(() => {});
    } catch (error) {
      notice(`The browser gives no camera and microphone: ${error.message}. Allow them, or send the test picture.`);
      element('join').disabled = false;
      return;
    }
  }
  navigator.wakeLock?.request('screen').catch(() => {});
  socket.send(JSON.stringify({ join: { agent: navigator.userAgent, camera } }));
  document.body.dataset.state = 'joined';
  element('notice').hidden = true;
  element('invitation').hidden = true;
  element('call').hidden = false;
  tell('wait', 'Joined');
}

async function answer({ id, call, args }) {
  try {
    if (call === 'prepare') {
      // The server is known to this device by another name than to the run.
      const source = element('camera').checked ? 'fake' : 'canvas';
      args = [{ ...args[0], url: `wss://${location.host}/ws`, source }];
    }
    const result = await window.harness[call](...args);
    socket.send(JSON.stringify({ id, result: result ?? null }));
    follow(call, result);
  } catch (error) {
    socket.send(JSON.stringify({ id, error: String(error?.message ?? error) }));
  }
}

// Shows the person how it goes.
function follow(call, result) {
  if (call === 'poll') {
    media ||= result.reached.includes('first_media');
    failed ??= result.error?.reason ?? null;
    if (failed) tell('bad', 'Failed', failed);
    else if (media) tell('good', 'In the call', 'The call is up. It ends by itself.');
    else tell('wait', 'Connecting', `Waiting for ${result.waiting}`);
  } else if (call === 'stop' && !failed) {
    tell('wait', 'Ending', 'The call is over; counting what has arrived');
  } else if (call === 'leave') {
    if (failed) finish('bad', 'Failed', `The call failed: ${failed}`);
    else if (media) finish('good', 'Done', 'The call came about, and is over. Thank you! You can close this page.');
    else finish('bad', 'Failed', 'The call did not come about. The report of the run says why.');
  }
}

function tell(tone, status, step) {
  element('status').dataset.tone = tone;
  element('status').textContent = status;
  if (step) element('step').textContent = step;
}

function notice(text) {
  element('notice').hidden = false;
  element('notice').firstElementChild.textContent = text;
}

function finish(tone, status, text) {
  document.body.dataset.state = 'over';
  tell(tone, status);
  notice(text);
  element('invitation').hidden = true;
  element('call').hidden = true;
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden) window.harness.warn('the person left the page for another one: browsers slow a page down that nobody sees');
});
