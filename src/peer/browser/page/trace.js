// What a peer's dump has of its connection: every call with what came of it, and every event, under the names of W3C
// webrtc. A peer without a dump does not come here.

const CALLS = ['createOffer', 'createAnswer', 'setLocalDescription', 'setRemoteDescription', 'addIceCandidate'];
const STATES = ['signalingState', 'iceGatheringState', 'iceConnectionState', 'connectionState'];

// Tells of all that is done with `pc` from now on, which was made with `configuration`.
export function trace(pc, configuration, tell) {
  // User names may be secrets as passwords are.
  tell('create', { ...configuration, iceServers: configuration.iceServers.map(({ urls }) => ({ urls })) });
  for (const name of CALLS) {
    const call = pc[name].bind(pc);
    pc[name] = async (...args) => {
      tell(name, args[0]);
      try {
        const result = await call(...args);
        tell(`${name}OnSuccess`, result);
        return result;
      } catch (error) {
        tell(`${name}OnFailure`, String(error));
        throw error;
      }
    };
  }
  before(pc, 'close', () => tell('close'));
  before(pc, 'createDataChannel', (...args) => tell('createDataChannel', args));
  before(pc, 'addTransceiver', (of, init) => {
    const streams = (init?.streams ?? []).map(({ id }) => id);
    tell('addTransceiver', [typeof of === 'string' ? of : described(of), { ...init, streams }]);
  });
  for (const state of STATES) {
    const event = `${state.toLowerCase()}change`;
    pc.addEventListener(event, () => tell(`on${event}`, pc[state]));
  }
  pc.addEventListener('icecandidate', ({ candidate }) => tell('onicecandidate', candidate));
  pc.addEventListener('icecandidateerror', ({ address, port, url, errorCode, errorText }) =>
    tell('onicecandidateerror', { address, port, url, errorCode, errorText }),
  );
  pc.addEventListener('track', ({ track, streams }) => tell('ontrack', [...described(track), ...streams.map(({ id }) => id)]));
  pc.addEventListener('datachannel', ({ channel }) => tell('ondatachannel', [channel.id, channel.label]));
}

// Does something before each call of a method.
function before(pc, name, act) {
  const call = pc[name].bind(pc);
  pc[name] = (...args) => {
    act(...args);
    return call(...args);
  };
}

// A track as readers of dumps expect it.
function described({ kind, id, label }) {
  return [kind, id, label];
}
