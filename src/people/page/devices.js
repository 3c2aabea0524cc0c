// What I send: at most one sound and one picture, from a microphone, a camera or the screen.

export class Devices {
  stream = new MediaStream();
  // What is on: the picture comes from the camera or from the screen.
  on = { microphone: false, camera: false, screen: false };
  #change;

  // `change(kind)` is called when there is another sound or picture, or none any more.
  constructor(change) {
    this.#change = change;
  }

  // The sound and the picture, null where there is none.
  get tracks() {
    const [audio = null] = this.stream.getAudioTracks();
    const [video = null] = this.stream.getVideoTracks();
    return { audio, video };
  }

  // Switches something on or off; throws an Error with words for people.
  async toggle(name) {
    const kind = name === 'microphone' ? 'audio' : 'video';
    if (this.on[name]) return this.#put(kind, null, null);
    let captured;
    try {
      captured = await capture(name);
    } catch (error) {
      throw new Error(explain(name, error));
    }
    this.#put(kind, name, captured.getTracks().find((track) => track.kind === kind));
  }

  #put(kind, name, track) {
    for (const old of this.stream.getTracks().filter((track) => track.kind === kind)) {
      old.onended = null;
      old.stop();
      this.stream.removeTrack(old);
    }
    const names = kind === 'audio' ? ['microphone'] : ['camera', 'screen'];
    for (const each of names) this.on[each] = each === name;
    if (track) {
      this.stream.addTrack(track);
      // Unplugged, or ended in the browser's own bar.
      track.onended = () => this.#put(kind, null, null);
    }
    this.#change(kind);
  }
}

export function canShareScreen() {
  return Boolean(navigator.mediaDevices?.getDisplayMedia);
}

function capture(name) {
  if (!navigator.mediaDevices) throw new DOMException('', 'InsecureContextError');
  switch (name) {
    case 'screen':
      return navigator.mediaDevices.getDisplayMedia({ video: true });
    case 'camera':
      return navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: 'user' } });
    default:
      return navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true } });
  }
}

function explain(name, { name: error, message }) {
  switch (error) {
    case 'NotAllowedError':
      return name === 'screen'
        ? 'The screen is not shared: that was cancelled, or the system does not allow it to this browser.'
        : `This page may not use the ${name}. Allow it in the browser’s address bar or in the settings of the device, and try again.`;
    case 'NotFoundError':
    case 'OverconstrainedError':
      return `This device has no ${name} that could be used.`;
    case 'NotReadableError':
    case 'AbortError':
      return `The ${name} does not start. Another program may be using it.`;
    case 'InsecureContextError':
    case 'SecurityError':
      return `The browser gives the ${name} only to pages over HTTPS whose certificate it accepts. Trust the CA of this server, and load the page again.`;
    default:
      return `The ${name} does not start: ${message || error}.`;
  }
}
