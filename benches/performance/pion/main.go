// Command pion carries the packets of the benchmark over Pion: N one-way pairs in one process, media counted.
//
// Usage: pion SCHEDULE PAIRS PER_SECOND WARM_UP WINDOW
//
// WARM_UP and WINDOW are in milliseconds. SCHEDULE has a line for each packet of the loop of one pair: "v|a", microseconds since the loop's start, bytes of RTP
// payload; its first line is the loop's length in microseconds. The answer is one JSON object on standard output.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pion/ice/v2"
	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v3"
)

// How long a pair may take to connect, and how often it is tried: now and then one of some hundred does not.
const setupDeadline = 10 * time.Second
const attempts = 3

type packet struct {
	at    time.Duration
	bytes int
}

type schedule struct {
	loop         time.Duration
	video, audio []packet
}

var received uint64

func main() {
	if len(os.Args) != 6 {
		fail(fmt.Errorf("usage: pion SCHEDULE PAIRS PER_SECOND WARM_UP WINDOW"))
	}
	plan, err := read(os.Args[1])
	if err != nil {
		fail(err)
	}
	var numbers [4]int
	for i := range numbers {
		if numbers[i], err = strconv.Atoi(os.Args[i+2]); err != nil {
			fail(err)
		}
	}
	pairs, rate := numbers[0], numbers[1]
	warmUp, window := time.Duration(numbers[2])*time.Millisecond, time.Duration(numbers[3])*time.Millisecond

	api, err := newAPI()
	if err != nil {
		fail(err)
	}
	before, idle := cpu(), resident()
	start := make(chan struct{})
	connected := make(chan error, pairs)
	for i := 0; i < pairs; i++ {
		time.Sleep(time.Second / time.Duration(rate))
		go func(i int) {
			err := pair(api, plan, i, start)
			for n := 1; n < attempts && err != nil; n++ {
				err = pair(api, plan, i, start)
			}
			connected <- err
		}(i)
	}
	for i := 0; i < pairs; i++ {
		if err := <-connected; err != nil {
			fail(err)
		}
	}
	setUp := cpu() - before
	close(start)
	time.Sleep(warmUp)
	begin, cpuBefore, receivedBefore := time.Now(), cpu(), atomic.LoadUint64(&received)
	time.Sleep(window)
	result := map[string]interface{}{
		"setup_cpu_ms":   setUp.Seconds() * 1e3,
		"cpu_seconds":    (cpu() - cpuBefore).Seconds(),
		"seconds":        time.Since(begin).Seconds(),
		"received":       atomic.LoadUint64(&received) - receivedBefore,
		"resident_bytes": resident() - idle,
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		fail(err)
	}
}

func newAPI() (*webrtc.API, error) {
	settings := webrtc.SettingEngine{}
	// By default every peer connection joins a multicast group on every interface.
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	media := &webrtc.MediaEngine{}
	if err := media.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	interceptors := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(media, interceptors); err != nil {
		return nil, err
	}
	return webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(media),
		webrtc.WithInterceptorRegistry(interceptors)), nil
}

// pair connects two peers, and sends from one to the other once start is closed.
func pair(api *webrtc.API, plan *schedule, number int, start chan struct{}) (err error) {
	sender, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	receiver, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		sender.Close()
		return err
	}
	// One that is tried again must not go on costing anything.
	defer func() {
		if err != nil {
			sender.Close()
			receiver.Close()
		}
	}()
	up := make(chan struct{}, 2)
	for _, end := range []*webrtc.PeerConnection{sender, receiver} {
		end.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
			if state == webrtc.PeerConnectionStateConnected {
				up <- struct{}{}
			}
		})
	}
	receiver.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		for {
			if _, _, err := track.ReadRTP(); err != nil {
				return
			}
			atomic.AddUint64(&received, 1)
		}
	})
	stream := fmt.Sprintf("pair-%d", number)
	video, err := add(sender, webrtc.MimeTypeVP8, 90000, 0, "video", stream)
	if err != nil {
		return err
	}
	audio, err := add(sender, webrtc.MimeTypeOpus, 48000, 2, "audio", stream)
	if err != nil {
		return err
	}
	if err := negotiate(sender, receiver); err != nil {
		return err
	}
	for i := 0; i < 2; i++ {
		select {
		case <-up:
		case <-time.After(setupDeadline):
			return fmt.Errorf("pair %d did not connect within %s", number, setupDeadline)
		}
	}
	// Pairs that all sent at once would measure their own bursts.
	offset := plan.loop * time.Duration(number*7919%1000) / 1000
	go send(video, plan.video, plan.loop, offset, 90000, start)
	go send(audio, plan.audio, plan.loop, offset, 48000, start)
	return nil
}

func add(to *webrtc.PeerConnection, mime string, clock uint32, channels uint16, kind, stream string) (
	*webrtc.TrackLocalStaticRTP, error) {
	codec := webrtc.RTPCodecCapability{MimeType: mime, ClockRate: clock, Channels: channels}
	track, err := webrtc.NewTrackLocalStaticRTP(codec, kind, stream)
	if err != nil {
		return nil, err
	}
	rtpSender, err := to.AddTrack(track)
	if err != nil {
		return nil, err
	}
	// Interceptors see RTCP only when it is read.
	go func() {
		buffer := make([]byte, 1500)
		for {
			if _, _, err := rtpSender.Read(buffer); err != nil {
				return
			}
		}
	}()
	return track, nil
}

func negotiate(sender, receiver *webrtc.PeerConnection) error {
	offer, err := sender.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(sender)
	if err := sender.SetLocalDescription(offer); err != nil {
		return err
	}
	<-gathered
	if err := receiver.SetRemoteDescription(*sender.LocalDescription()); err != nil {
		return err
	}
	answer, err := receiver.CreateAnswer(nil)
	if err != nil {
		return err
	}
	gathered = webrtc.GatheringCompletePromise(receiver)
	if err := receiver.SetLocalDescription(answer); err != nil {
		return err
	}
	<-gathered
	return sender.SetRemoteDescription(*receiver.LocalDescription())
}

// send writes the packets of one stream, in a loop, each when it is due.
func send(track *webrtc.TrackLocalStaticRTP, packets []packet, loop, offset time.Duration, clock uint64, start chan struct{}) {
	<-start
	begin := time.Now().Add(offset)
	payload := make([]byte, 1500)
	header := rtp.Header{Version: 2}
	for round := time.Duration(0); ; round++ {
		for _, next := range packets {
			due := round*loop + next.at
			if wait := time.Until(begin.Add(due)); wait > 0 {
				time.Sleep(wait)
			}
			header.SequenceNumber++
			header.Timestamp = uint32(uint64(due) * clock / uint64(time.Second))
			if err := track.WriteRTP(&rtp.Packet{Header: header, Payload: payload[:next.bytes]}); err != nil {
				return
			}
		}
	}
}

func read(file string) (*schedule, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	plan := &schedule{}
	loop, err := strconv.Atoi(lines[0])
	if err != nil {
		return nil, err
	}
	plan.loop = time.Duration(loop) * time.Microsecond
	for _, line := range lines[1:] {
		var kind string
		var at, bytes int
		if _, err := fmt.Sscan(line, &kind, &at, &bytes); err != nil {
			return nil, err
		}
		next := packet{time.Duration(at) * time.Microsecond, bytes}
		if kind == "v" {
			plan.video = append(plan.video, next)
		} else {
			plan.audio = append(plan.audio, next)
		}
	}
	return plan, nil
}

// cpu is the CPU time of this process so far.
func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		fail(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// resident is the resident memory of this process in bytes.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		fail(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		fail(err)
	}
	return pages * int64(os.Getpagesize())
}

func fail(err error) {
	_, _ = io.WriteString(os.Stderr, "pion: "+err.Error()+"\n")
	os.Exit(1)
}
