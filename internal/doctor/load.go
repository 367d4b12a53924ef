package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pin/tftp/v3"

	"github.com/staged-hive/hatchery/inventory"
)

// Bounds of what is loaded.
const (
	maxFile   = 32 << 20
	maxScript = 64 << 10
	endBytes  = 1024 // of each end of kernel and initrd
)

// bounded is a buffer that takes so many bytes and no more.
type bounded struct {
	bytes.Buffer
	max int
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.max {
		return 0, fmt.Errorf("more than %d bytes", b.max)
	}
	return b.Buffer.Write(p)
}

// loadFile is the next step: iPXE by TFTP.
func (p *play) loadFile(ctx context.Context) (string, string, error) {
	name := p.file
	if name == "" {
		name = "snponly.efi" // no DHCP of ours: what the documentation has routers name
	}
	hint := "Is UDP 69 taken by another TFTP server, or " + name + " missing in the folder of --ipxe? The media page lists the boot files."
	c, err := tftp.NewClient(net.JoinHostPort(p.Self.String(), fmt.Sprint(p.TFTP)))
	if err != nil {
		return "", hint, err
	}
	c.SetTimeout(time.Second)
	c.SetRetries(2)
	c.SetBlockSize(1428)
	began := time.Now()
	body := &bounded{max: maxFile}
	done := make(chan error, 1)
	go func() {
		from, err := c.Receive(name, "octet")
		if err == nil {
			_, err = from.WriteTo(body)
		}
		done <- err
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		return "", hint, fmt.Errorf("%s by TFTP: it did not arrive within %s", name, stepWithin)
	}
	switch {
	case err != nil:
		return "", hint, fmt.Errorf("%s by TFTP: %w", name, err)
	case strings.HasSuffix(name, ".efi") && !bytes.HasPrefix(body.Bytes(), []byte("MZ")):
		return "", "Put Debian's or nixpkgs' iPXE files into the folder of --ipxe.", refused("%s (%d bytes) is no EFI program", name, body.Len())
	}
	return fmt.Sprintf("%s: %d kB in %.2f s.", name, body.Len()/1000, time.Since(began).Seconds()), "", nil
}

// get fetches an URL of the boot listener; rng is a Range header's value or "".
func (p *play) get(ctx context.Context, url, rng string, limit int64) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("User-Agent", "hatchery-doctor")
	if rng != "" {
		req.Header.Set("Range", rng)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: machines have none
	res, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, limit))
	return res, raw, err
}

// loadScript is the next step: what iPXE asks for.
func (p *play) loadScript(ctx context.Context) (string, string, error) {
	hint := fmt.Sprintf("Is TCP %d taken by another program, or --boot-addr an address of another interface?", p.Boot)
	mac := inventory.MAC(p.mac)
	at := "http://" + p.boot.String() + "/boot.ipxe?" + url.Values{"mac": {mac.Hyphens()}, "platform": {"efi"}, "buildarch": {"x86_64"}}.Encode()
	res, raw, err := p.get(ctx, at, "", maxScript)
	switch {
	case err != nil:
		return "", hint, err
	case res.StatusCode != http.StatusOK:
		return "", hint, refused("the boot script: %s: %s", res.Status, inventory.Clean(string(raw), 200))
	case !bytes.HasPrefix(raw, []byte("#!ipxe")):
		return "", hint, refused("what came is no iPXE script: another web server has that port")
	}
	for line := range strings.Lines(string(raw)) {
		words := strings.Fields(line)
		for i, w := range words {
			if i > 0 && (words[0] == "kernel" || words[0] == "initrd" || words[0] == "imgfetch") && strings.HasPrefix(w, "http://") {
				p.urls = append(p.urls, w)
				break
			}
		}
	}
	if len(p.urls) < 2 {
		return "", "Put a stage-0 image in: `hatchery stage0 add FOLDER`, or `hatchery stage0 build` where nix is.", refused("the script names no kernel and initrd: there is no stage-0 image for x86_64")
	}
	return fmt.Sprintf("A script of %d bytes that boots stage-0.", len(raw)), "", nil
}

// loadImage is the last step: both ends of every file that the script names.
func (p *play) loadImage(ctx context.Context) (string, string, error) {
	hint := "The stage-0 image is damaged or half copied: put it in again with `hatchery stage0 add FOLDER`. `hatchery stage0 list` says more."
	var total int64
	for _, u := range p.urls {
		if at, err := url.Parse(u); err != nil || at.Host != p.boot.String() {
			return "", hint, refused("the script names another server: %s", inventory.Clean(u, 200))
		}
		head, err := p.end(ctx, u, fmt.Sprintf("bytes=0-%d", endBytes-1))
		if err != nil {
			return "", hint, err
		}
		if _, err := p.end(ctx, u, fmt.Sprintf("bytes=-%d", endBytes)); err != nil {
			return "", hint, err
		}
		total += head
	}
	return fmt.Sprintf("%d files, %d MB in all, answer from both ends.", len(p.urls), total/1_000_000), "", nil
}

// end reads one end of a file and returns how long the whole file is.
func (p *play) end(ctx context.Context, u, rng string) (int64, error) {
	res, raw, err := p.get(ctx, u, rng, endBytes+1)
	if err != nil {
		return 0, err
	}
	var first, last, size int64
	_, err = fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size)
	if res.StatusCode != http.StatusPartialContent || err != nil || int64(len(raw)) != last-first+1 {
		return 0, errors.Join(refused("%s, %s: %s, %d bytes", inventory.Clean(u, 200), rng, res.Status, len(raw)), err)
	}
	return size, nil
}
