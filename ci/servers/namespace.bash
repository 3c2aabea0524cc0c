# Part of ci/servers/start: the servers that need a network of their own, since they offer no candidates on loopback. In here there
# is one address beside loopback, 10.201.0.1.
# shellcheck shell=bash disable=SC2034,SC2154

ip link set lo up
ip link add outer type veth peer name inner
ip address add 10.201.0.1/24 dev outer
ip link set outer up
ip link set inner up

# Janus, with its WebSocket on 8989, and without TLS on 8188.
start_janus() {
  local trickle=$1
  mkdir "$work/etc"
  cat >"$work/etc/janus.jcfg" <<CONFIG
general: {
  configs_folder = "$work/etc"
  interface = "10.201.0.1"
  session_timeout = 60
}
certificates: {
  cert_pem = "$work/cert.pem"
  cert_key = "$work/key.pem"
}
media: { rtp_port_range = "20000-29999" }
nat: {
  full_trickle = $trickle
  ice_enforce_list = "10.201."
}
plugins: { disable = "libjanus_lua.so,libjanus_duktape.so,libjanus_voicemail.so,libjanus_sip.so,libjanus_nosip.so,libjanus_streaming.so,libjanus_recordplay.so,libjanus_videocall.so" }
transports: { disable = "libjanus_http.so,libjanus_rabbitmq.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so" }
CONFIG
  cat >"$work/etc/janus.transport.websockets.jcfg" <<CONFIG
general: {
  ws = true
  ws_port = 8188
  ws_ip = "127.0.0.1"
  wss = true
  wss_port = 8989
  wss_ip = "127.0.0.1"
}
certificates: {
  cert_pem = "$work/cert.pem"
  cert_key = "$work/key.pem"
}
CONFIG
  for plugin in audiobridge textroom echotest; do echo "general: {}" >"$work/etc/janus.plugin.$plugin.jcfg"; done
  printf 'general: {}\nroom-1234: { publishers = 8 }\n' >"$work/etc/janus.plugin.videoroom.jcfg"
  janus -F "$work/etc" -C "$work/etc/janus.jcfg" -o >"$work/said" 2>&1 &
  started+=($!)
  port() { if is_open 8989; then echo 8989; fi; }
}

case $what in
  janus)
    start_janus true
    ;;
  kurento-double | livekit-double)
    start_janus true
    LIVEKIT_SECRET=$(openssl rand -hex 16)
    export LIVEKIT_SECRET
    # It connects to Janus only when a client comes, which is after both are up.
    node_server "${what%-double}.cjs" wss://127.0.0.1:8989
    port() { if is_open 8989; then head -n 1 "$work/port"; fi; }
    ;;
  whip)
    # simple-whip-server does not pass on what Janus would trickle.
    start_janus false
    scheme=https
    WHIP_TOKEN=$(openssl rand -hex 16)
    export WHIP_TOKEN
    cp -r "$tools/simple-whip-server" "$work/whip"
    cat >"$work/whip/config.js" <<CONFIG
module.exports = {
  janus: { address: "ws://127.0.0.1:8188" },
  port: 7080,
  https: { cert: "$work/cert.pem", key: "$work/key.pem" },
  rest: "/whip",
  allowTrickle: true,
  strictETags: true,
  iceServers: [],
};
CONFIG
    (cd "$work/whip" && NODE_PATH=$packages exec node server.js) >>"$work/said" 2>&1 &
    started+=($!)
    # It tries Janus again until that is up, and listens then.
    port() { if is_open 7080; then echo 7080; fi; }
    prepare() {
      local number
      for number in $(seq 0 7); do
        curl --silent --show-error --fail --cacert "$work/cert.pem" -H 'content-type: application/json' -o /dev/null \
          -d "{\"id\":\"live-$number\",\"room\":1234,\"label\":\"live-$number\",\"token\":\"$WHIP_TOKEN\"}" \
          https://127.0.0.1:7080/whip/create
      done
    }
    ;;
  whep)
    scheme=https
    PUBLIC_IP=10.201.0.1 "$tools/bin/whip_whep" >"$work/said" 2>&1 &
    started+=($!)
    node_server whep.cjs http://127.0.0.1:4000
    port() { if is_open 4000; then head -n 1 "$work/port"; fi; }
    ;;
esac
