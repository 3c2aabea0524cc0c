// The page: what its elements do, and what they show.

import { say } from './chat.js';
import { Devices, canShareScreen } from './devices.js';
import { Meter } from './meter.js';
import { idOf } from './id.js';
import { Phone } from './phone.js';

const STATES = {
  new: 'Connecting',
  connecting: 'Connecting',
  connected: 'Connected',
  disconnected: 'Interrupted',
  failed: 'Interrupted',
};

const $ = (id) => document.getElementById(id);
const show = (element, visible) => (element.hidden = !visible);
const title = document.title;

const devices = new Devices((kind) => {
  phone?.call?.setTrack(kind, devices.tracks[kind]);
  showDevices();
});
const meter = new Meter();
let phone;
let notices = 0;
let lineFault = null;
let connection = null;

// Servers that help to find a path, if the signaling server runs one.
async function iceServers() {
  try {
    return await (await fetch('people/ice.json')).json();
  } catch {
    return [];
  }
}

function notice(text) {
  $('notice').firstElementChild.textContent = text ?? '';
  show($('notice'), text);
  notices += 1;
  const shown = notices;
  if (text) setTimeout(() => shown === notices && notice(null), 15_000);
}

function showStatus() {
  const [text, tone] = status();
  $('status').textContent = text;
  $('status').dataset.tone = tone;
}

function status() {
  const { state, other, online } = phone;
  if (state === 'call') return [`${STATES[connection] ?? 'Connecting'}: ${other}`, connection === 'connected' ? 'good' : 'wait'];
  if (state === 'calling') return [`Calling ${other}`, 'wait'];
  if (state === 'ringing') return [`${other} is calling`, 'wait'];
  if (online) return ['Ready', 'good'];
  return lineFault ? [`${lineFault} Trying again`, 'bad'] : ['Connecting to the server', 'wait'];
}

function showPhone() {
  const { state, other, id, online } = phone;
  document.body.dataset.state = state;
  document.title = state === 'ringing' ? `${other} is calling` : title;
  $('own-id').textContent = online ? id : '…';
  for (const button of ['copy-id', 'copy-link', 'call']) $(button).disabled = !online;
  show($('ring'), state === 'ringing');
  $('caller').textContent = other ?? '';
  show($('hang-up'), state === 'calling' || state === 'call');
  if (state === 'ringing') $('answer').focus();
  if (state === 'idle') {
    connection = null;
    $('text').disabled = $('send').disabled = true;
    $('remote').srcObject = null;
    show($('unmute'), false);
    meter.stop();
  }
  showStatus();
  showPictures();
}

function showDevices() {
  for (const [name, on] of Object.entries(devices.on)) $(name).setAttribute('aria-pressed', on);
  showPictures();
}

function showPictures() {
  const { video } = devices.tracks;
  const remote = phone?.call?.stream;
  const live = remote?.getVideoTracks().length > 0;
  if ($('own').srcObject?.getVideoTracks()[0] !== video) $('own').srcObject = video && new MediaStream([video]);
  // A shared screen is no mirror.
  $('own').classList.toggle('mirror', devices.on.camera);
  show($('own'), video);
  show($('blank'), !live && !(video && phone?.state !== 'call'));
  const sounds = remote?.getAudioTracks().length > 0;
  $('blank-text').textContent = {
    idle: 'Choose what to send, then call. With nothing chosen it is a chat.',
    ringing: 'Choose what to send before you answer, or later.',
    calling: 'Waiting for an answer',
    call: sounds ? 'Sound only: the other one sends no picture' : 'The other one sends no picture',
  }[phone?.state ?? 'idle'];
}

function playRemote() {
  const { stream } = phone.call;
  if ($('remote').srcObject !== stream) $('remote').srcObject = stream;
  $('remote').play().then(
    () => show($('unmute'), false),
    // Not before a tap; an AbortError says that there is another track already.
    (error) => error.name === 'NotAllowedError' && show($('unmute'), true),
  );
  showPictures();
}

async function copy(button, text) {
  const words = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
    setTimeout(() => (button.textContent = words), 2000);
  } catch {
    getSelection().selectAllChildren($('own-id'));
    notice(`The browser does not let this page copy. Copy this by hand: ${text}`);
  }
}

// Phones switch themselves off otherwise; where this is not possible, they do.
const awake = () => phone.state === 'call' && navigator.wakeLock?.request('screen').catch(() => {});

function listen() {
  for (const name of ['microphone', 'camera', 'screen']) {
    $(name).onclick = async () => {
      $(name).disabled = true;
      await devices.toggle(name).catch(({ message }) => notice(message));
      $(name).disabled = false;
    };
  }
  show($('screen'), canShareScreen());
  $('dial').onsubmit = (event) => {
    event.preventDefault();
    notice(null);
    phone.dial(idOf($('other').value));
  };
  $('answer').onclick = () => phone.answer();
  $('decline').onclick = () => phone.hangUp();
  $('hang-up').onclick = () => phone.hangUp();
  $('unmute').onclick = () => playRemote();
  $('copy-id').onclick = ({ currentTarget }) => copy(currentTarget, phone.id);
  $('copy-link').onclick = ({ currentTarget }) => copy(currentTarget, `${location.origin}/?call=${phone.id}`);
  $('notice').lastElementChild.onclick = () => notice(null);
  $('write').onsubmit = (event) => {
    event.preventDefault();
    const text = $('text').value.trim();
    if (!text) return;
    phone.call.chat(text);
    say($('messages'), text, true);
    $('text').value = '';
  };
  // A phone cuts the connections of pages that are not looked at.
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) return;
    phone.wake();
    awake();
  });
  addEventListener('online', () => phone.wake());
  addEventListener('pagehide', () => phone.hangUp());
}

async function start() {
  if (typeof RTCPeerConnection === 'undefined') {
    notice('This browser has no WebRTC (RTCPeerConnection): it cannot make calls.');
    return;
  }
  phone = new Phone(devices, await iceServers(), {
    change: () => {
      if (phone.state === 'calling' || phone.state === 'ringing') $('messages').replaceChildren();
      showPhone();
    },
    line: (reason) => {
      lineFault = reason;
      showPhone();
    },
    ended: notice,
    warning: notice,
    connected: awake,
    state: (state) => {
      connection = state;
      meter.watch(phone.call.pc);
      showStatus();
    },
    media: playRemote,
    chat: (text) => say($('messages'), text, false),
    writable: () => ($('text').disabled = $('send').disabled = false),
  });
  listen();
  const other = new URLSearchParams(location.search).get('call');
  if (other) {
    $('other').value = idOf(other).slice(0, 128);
    $('call').focus();
  }
  showPhone();
}

showDevices();
start();
