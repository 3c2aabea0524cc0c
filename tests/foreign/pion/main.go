// Command pion is a client of docs/signaling.md on Pion. It sends the repository's fixtures, and counts what comes, and how
// much of that is a frame or packet of the fixtures.
//
// Usage: pion URL CA ROOM offer|offer-later|answer ecdsa|rsa FIXTURES FINGERPRINTS
//
// With "offer-later" its first offer has a data channel only. Once that is connected, it offers anew, with media.
//
// FINGERPRINTS says which lines its description has: "one" of SHA-256; "strongest-first", of SHA-512, -384 and -256; "decoy",
// one of another certificate before its own; "wrong", of other certificates only.
//
// It ends when its input does, and answers with one JSON object on standard output.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/pion/ice/v2"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v3"
)

type message struct {
	Type      string                   `json:"type"`
	Room      string                   `json:"room,omitempty"`
	To        string                   `json:"to,omitempty"`
	From      string                   `json:"from,omitempty"`
	ID        string                   `json:"id,omitempty"`
	Peers     []string                 `json:"peers,omitempty"`
	SDP       string                   `json:"sdp,omitempty"`
	Code      string                   `json:"code,omitempty"`
	Message   string                   `json:"message,omitempty"`
	Candidate *webrtc.ICECandidateInit `json:"candidate"`
}

type client struct {
	socket       *websocket.Conn
	writing      sync.Mutex
	describing   sync.Mutex
	pc           *webrtc.PeerConnection
	certificate  *x509.Certificate
	fingerprints string
	fixtures     *fixtures
	offers       bool
	later        bool
	// Closed once media has been negotiated.
	negotiated chan struct{}
	other      string
	early      []webrtc.ICECandidateInit
}

func main() {
	if len(os.Args) != 8 {
		fail(fmt.Errorf("usage: pion URL CA ROOM offer|offer-later|answer ecdsa|rsa FIXTURES FINGERPRINTS"))
	}
	url, ca, room, role, kind, folder := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6]
	media, err := readFixtures(folder)
	check(err)
	key, err := newKey(kind)
	check(err)
	certificate, err := selfSigned(key)
	check(err)
	pc, err := connection(webrtc.CertificateFromX509(key, certificate))
	check(err)
	pem, err := os.ReadFile(ca)
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	dialer := websocket.Dialer{TLSClientConfig: &tls.Config{RootCAs: pool}}
	socket, _, err := dialer.Dial(url, nil)
	check(err)
	client := &client{socket: socket, pc: pc, certificate: certificate, fingerprints: os.Args[7], fixtures: media,
		offers: role != "answer", later: role == "offer-later", negotiated: make(chan struct{})}
	if client.later {
		pc.OnConnectionStateChange(client.offerMedia)
	} else {
		close(client.negotiated)
	}
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { media.count(track) })
	pc.OnDataChannel(client.talk)
	pc.OnICECandidate(client.trickle)
	go func() {
		for {
			var next message
			if socket.ReadJSON(&next) != nil {
				return
			}
			check(client.handle(next, room))
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	check(media.say())
}

func connection(certificate webrtc.Certificate) (*webrtc.PeerConnection, error) {
	settings := webrtc.SettingEngine{}
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	settings.SetIncludeLoopbackCandidate(true)
	// Standard output is for what main says.
	logs := logging.NewDefaultLoggerFactory()
	logs.Writer = os.Stderr
	settings.LoggerFactory = logs
	media := &webrtc.MediaEngine{}
	if err := media.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	return webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(media)).NewPeerConnection(
		webrtc.Configuration{Certificates: []webrtc.Certificate{certificate}, BundlePolicy: webrtc.BundlePolicyMaxBundle})
}

func newKey(kind string) (crypto.Signer, error) {
	switch kind {
	case "ecdsa":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa":
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return nil, fmt.Errorf("no kind of key is called %q", kind)
}

func selfSigned(key crypto.Signer) (*x509.Certificate, error) {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pion"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func (c *client) handle(m message, room string) error {
	switch m.Type {
	case "welcome":
		return c.send(map[string]interface{}{"type": "join", "room": room})
	case "joined":
		if len(m.Peers) > 0 {
			return c.call(m.Peers[0])
		}
	case "peer-joined":
		return c.call(m.ID)
	case "offer":
		c.other = m.From
		if err := c.described(webrtc.SDPTypeOffer, m.SDP); err != nil {
			return err
		}
		if err := c.sendMedia(); err != nil {
			return err
		}
		answer, err := c.pc.CreateAnswer(nil)
		if err != nil {
			return err
		}
		return c.describe(answer)
	case "answer":
		if err := c.described(webrtc.SDPTypeAnswer, m.SDP); err != nil {
			return err
		}
		if c.later && len(c.pc.GetSenders()) > 0 {
			close(c.negotiated)
		}
	case "candidate":
		if m.Candidate == nil || m.Candidate.Candidate == "" {
			return nil
		}
		if c.pc.RemoteDescription() == nil {
			c.early = append(c.early, *m.Candidate)
			return nil
		}
		return c.pc.AddICECandidate(*m.Candidate)
	case "error":
		return fmt.Errorf("the server says %s: %s", m.Code, m.Message)
	}
	return nil
}

func (c *client) call(id string) error {
	if !c.offers || c.other != "" {
		return nil
	}
	c.other = id
	if !c.later {
		if err := c.sendMedia(); err != nil {
			return err
		}
	}
	channel, err := c.pc.CreateDataChannel("echo", nil)
	if err != nil {
		return err
	}
	c.talk(channel)
	return c.offer()
}

// offerMedia offers anew, once the connection is up.
func (c *client) offerMedia(state webrtc.PeerConnectionState) {
	if state == webrtc.PeerConnectionStateConnected {
		check(c.sendMedia())
		check(c.offer())
	}
}

func (c *client) offer() error {
	offer, err := c.pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	return c.describe(offer)
}

// describe sends a description before it is applied, so that no candidate goes out ahead of it.
func (c *client) describe(own webrtc.SessionDescription) error {
	sdp, err := rewrite(own.SDP, c.certificate.Raw, c.fingerprints)
	if err != nil {
		return err
	}
	// The answer may be here before that.
	c.describing.Lock()
	defer c.describing.Unlock()
	told := map[string]interface{}{"type": own.Type.String(), "to": c.other, "sdp": sdp}
	if err := c.send(told); err != nil {
		return err
	}
	return c.pc.SetLocalDescription(own)
}

func (c *client) described(kind webrtc.SDPType, sdp string) error {
	c.describing.Lock()
	defer c.describing.Unlock()
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: kind, SDP: sdp}); err != nil {
		return err
	}
	for _, candidate := range c.early {
		if err := c.pc.AddICECandidate(candidate); err != nil {
			return err
		}
	}
	c.early = nil
	return nil
}

func (c *client) trickle(candidate *webrtc.ICECandidate) {
	var init interface{}
	if candidate != nil {
		init = candidate.ToJSON()
	}
	// The socket may be gone: the run is over.
	_ = c.send(map[string]interface{}{"type": "candidate", "to": c.other, "candidate": init})
}

func (c *client) talk(channel *webrtc.DataChannel) {
	if channel.Label() != "echo" {
		return
	}
	channel.OnMessage(func(m webrtc.DataChannelMessage) {
		c.fixtures.message()
		if !c.offers && m.IsString {
			_ = channel.SendText(string(m.Data))
		} else if !c.offers {
			_ = channel.Send(m.Data)
		}
	})
	if c.offers {
		channel.OnOpen(func() {
			for channel.SendText("a message of the client") == nil {
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
}

func (c *client) sendMedia() error {
	for _, stream := range c.fixtures.streams() {
		track, err := webrtc.NewTrackLocalStaticRTP(stream.codec, stream.kind, "pion")
		if err != nil {
			return err
		}
		if _, err := c.pc.AddTrack(track); err != nil {
			return err
		}
		go stream.send(track, c.pc, c.negotiated)
	}
	return nil
}

func (c *client) send(m interface{}) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.socket.WriteJSON(m)
}

var line = regexp.MustCompile(`a=fingerprint:[^\r]*`)

// rewrite replaces the fingerprint lines of a description.
func rewrite(sdp string, der []byte, how string) (string, error) {
	own := func(name string, hash crypto.Hash) string { return fingerprint(name, hash, der) }
	other := func(name string, hash crypto.Hash) string {
		return fingerprint(name, hash, []byte("another certificate"))
	}
	var lines []string
	switch how {
	case "one":
		lines = []string{own("sha-256", crypto.SHA256)}
	case "strongest-first":
		lines = []string{own("sha-512", crypto.SHA512), own("sha-384", crypto.SHA384), own("sha-256", crypto.SHA256)}
	case "decoy":
		lines = []string{other("sha-256", crypto.SHA256), own("sha-256", crypto.SHA256)}
	case "wrong":
		lines = []string{other("sha-512", crypto.SHA512), other("sha-256", crypto.SHA256)}
	default:
		return "", fmt.Errorf("no set of fingerprints is called %q", how)
	}
	return line.ReplaceAllString(sdp, strings.Join(lines, "\r\n")), nil
}

func fingerprint(name string, hash crypto.Hash, certificate []byte) string {
	digest := hash.New()
	_, _ = digest.Write(certificate)
	return "a=fingerprint:" + name + " " + strings.ReplaceAll(fmt.Sprintf("% X", digest.Sum(nil)), " ", ":")
}

func check(err error) {
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	_, _ = io.WriteString(os.Stderr, "pion: "+err.Error()+"\n")
	os.Exit(1)
}
