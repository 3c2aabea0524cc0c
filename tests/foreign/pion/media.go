package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v3"
)

const mtu = 1200

// fixtures are the media of the folder fixtures/, and counts of what came of them.
type fixtures struct {
	video, audio [][]byte
	known        map[string]bool

	mutex  sync.Mutex
	counts struct {
		Frames   uint64 `json:"frames"`
		Intact   uint64 `json:"intact"`
		Samples  uint64 `json:"samples"`
		Known    uint64 `json:"known"`
		Messages uint64 `json:"messages"`
	}
}

type stream struct {
	kind       string
	codec      webrtc.RTPCodecCapability
	payloader  rtp.Payloader
	units      [][]byte
	interval   time.Duration
	timestamps uint32
}

func readFixtures(folder string) (*fixtures, error) {
	ivf, err := os.ReadFile(filepath.Join(folder, "vp8.ivf"))
	if err != nil {
		return nil, err
	}
	ogg, err := os.ReadFile(filepath.Join(folder, "opus.ogg"))
	if err != nil {
		return nil, err
	}
	f := &fixtures{known: map[string]bool{}}
	// An IVF file has a header of 32 bytes, each frame one of 12 that begins with its length.
	for rest := ivf[32:]; len(rest) > 12; {
		length := binary.LittleEndian.Uint32(rest)
		f.video = append(f.video, rest[12:12+length])
		rest = rest[12+length:]
	}
	packets := oggPackets(ogg)
	if len(f.video) == 0 || len(packets) < 3 {
		return nil, errors.New("the fixtures are empty")
	}
	// The first two packets are headers (RFC 7845, section 3).
	f.audio = packets[2:]
	for _, unit := range append(append([][]byte{}, f.video...), f.audio...) {
		f.known[string(unit)] = true
	}
	return f, nil
}

// oggPackets are the packets of an Ogg file (RFC 3533, section 6).
func oggPackets(file []byte) (packets [][]byte) {
	var packet []byte
	for len(file) >= 27 {
		lengths := file[27 : 27+int(file[26])]
		file = file[27+len(lengths):]
		for _, length := range lengths {
			packet = append(packet, file[:length]...)
			file = file[length:]
			if length < 255 {
				packets, packet = append(packets, packet), nil
			}
		}
	}
	return packets
}

func (f *fixtures) streams() []stream {
	return []stream{
		{"video", webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}, &codecs.VP8Payloader{},
			f.video, time.Second / 30, 3000},
		{"audio", webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2},
			&codecs.OpusPayloader{}, f.audio, 20 * time.Millisecond, 960},
	}
}

// send sends a stream in a loop, from when it has been negotiated and the connection is up.
func (s stream) send(track *webrtc.TrackLocalStaticRTP, pc *webrtc.PeerConnection, negotiated <-chan struct{}) {
	<-negotiated
	for pc.ConnectionState() != webrtc.PeerConnectionStateConnected {
		time.Sleep(5 * time.Millisecond)
	}
	packetizer := rtp.NewPacketizer(mtu, 0, 0, s.payloader, rtp.NewRandomSequencer(), s.codec.ClockRate)
	tick := time.NewTicker(s.interval)
	for next := 0; ; next++ {
		for _, packet := range packetizer.Packetize(s.units[next%len(s.units)], s.timestamps) {
			if track.WriteRTP(packet) != nil {
				return
			}
		}
		<-tick.C
	}
}

// count counts what a track brings.
func (f *fixtures) count(track *webrtc.TrackRemote) {
	var frame []byte
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		if track.Kind() == webrtc.RTPCodecTypeAudio {
			f.mutex.Lock()
			f.counts.Samples++
			f.counts.Known += f.is(packet.Payload)
			f.mutex.Unlock()
			continue
		}
		var vp8 codecs.VP8Packet
		part, err := vp8.Unmarshal(packet.Payload)
		if err != nil {
			continue
		}
		frame = append(frame, part...)
		if packet.Marker {
			f.mutex.Lock()
			f.counts.Frames++
			f.counts.Intact += f.is(frame)
			f.mutex.Unlock()
			frame = nil
		}
	}
}

func (f *fixtures) is(unit []byte) uint64 {
	if f.known[string(unit)] {
		return 1
	}
	return 0
}

func (f *fixtures) message() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.counts.Messages++
}

func (f *fixtures) say() error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return json.NewEncoder(os.Stdout).Encode(f.counts)
}
