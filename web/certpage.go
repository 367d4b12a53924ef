package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/internal/durable"
	"github.com/staged-hive/hatchery/inventory"
)

// givenFile is where a certificate that a person put in is kept, chain and key in one so that they are replaced together.
const givenFile = "given.pem"

// certWarn is how long before the end of a given certificate the page warns: nobody renews it but people.
const certWarn = 14 * 24 * time.Hour

func (s *Server) givenPath() string { return filepath.Join(s.cfg.Dir, "tls", givenFile) }

// givenCertificate is the certificate that a person put in; nil when there is none.
func (s *Server) givenCertificate() (*tls.Certificate, error) {
	raw, err := os.ReadFile(s.givenPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("certificate that was put in: %w", err)
	}
	c, err := tls.X509KeyPair(raw, raw)
	if err != nil {
		return nil, fmt.Errorf("certificate that was put in, %s: %w; remove the file to go back to the appliance's own", s.givenPath(), err)
	}
	return &c, nil
}

// mayGive says why no certificate can be put in here.
func (s *Server) mayGive() error {
	switch s.cfg.TLS {
	case "", "auto":
		return nil
	case "off":
		return fmt.Errorf("the page is served without TLS (web_tls = off), so there is no certificate to replace: %w", ErrNotHere)
	}
	return fmt.Errorf("the configuration file names the certificate (web_tls): replace its two files, they are read again by themselves: %w", ErrNotHere)
}

// giveCertificate puts a certificate in the place of the appliance's own, at once. ErrInvalid.
func (s *Server) giveCertificate(ctx context.Context, cert, key string) error {
	if err := s.mayGive(); err != nil {
		return err
	}
	c, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		return fmt.Errorf("this certificate and key cannot be used: %w: %w", err, inventory.ErrInvalid)
	}
	if now := s.cfg.Now(); now.After(c.Leaf.NotAfter) || now.Before(c.Leaf.NotBefore) {
		return fmt.Errorf("this certificate is good from %s to %s only, not now: %w", c.Leaf.NotBefore.Format(time.DateOnly), c.Leaf.NotAfter.Format(time.DateOnly), inventory.ErrInvalid)
	}
	if err := durable.WriteFile(s.givenPath(), []byte(cert+"\n"+key+"\n"), 0o600); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	if err := s.renewCertificate(); err != nil {
		return err
	}
	return s.noteSite(ctx, topicAccess, "The certificate was replaced by "+caller(ctx).By+". It is good until "+c.Leaf.NotAfter.Format(time.DateOnly)+".")
}

// ownAgain goes back to the appliance's own certificate. ErrNotFound.
func (s *Server) ownAgain(ctx context.Context) error {
	if err := s.mayGive(); err != nil {
		return err
	}
	if err := os.Remove(s.givenPath()); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("a certificate that was put in is %w; the appliance's own is in use", inventory.ErrNotFound)
	} else if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	if err := s.renewCertificate(); err != nil {
		return err
	}
	return s.noteSite(ctx, topicAccess, "The appliance's own certificate is in use again, by "+caller(ctx).By+".")
}

// certWarnings tell of a given certificate that ends soon.
func (s *Server) certWarnings() []Warning {
	c, err := s.givenCertificate()
	hint := "Put a new one in under Settings, or go back to the appliance's own."
	if err != nil {
		return []Warning{{Text: words(err), Hint: hint}}
	}
	if c == nil || s.cfg.Now().Add(certWarn).Before(c.Leaf.NotAfter) {
		return nil
	}
	return []Warning{{Text: "The page's certificate ends on " + c.Leaf.NotAfter.Format(time.DateOnly) + ", and nobody renews it by itself.", Hint: hint}}
}

type giveCertificateIn struct {
	Body struct {
		Certificate string `json:"certificate" doc:"PEM, with the chain after it" maxLength:"262144"`
		Key         string `json:"key" doc:"its private key, PEM" maxLength:"65536"`
	}
}

// certAPI registers what replaces the web listener's certificate. It needs scope admin; see needs.
func (s *Server) certAPI(a huma.API) {
	op(a, http.MethodPut, "/certificate", "put-certificate", "Replace the certificate of page and API, at once", func(ctx context.Context, in *giveCertificateIn) (*none, error) {
		return nil, s.giveCertificate(ctx, in.Body.Certificate, in.Body.Key)
	})
	op(a, http.MethodDelete, "/certificate", "delete-certificate", "Go back to the appliance's own certificate, at once", func(ctx context.Context, _ *none) (*none, error) {
		return nil, s.ownAgain(ctx)
	})
}

func (s *Server) certificateForm(c echo.Context) (err error) {
	ctx, text := c.Request().Context(), "The certificate is replaced. Your browser may ask about the new one."
	if c.FormValue("own") != "" {
		err, text = s.ownAgain(ctx), "The appliance's own certificate is in use again."
	} else {
		err = s.giveCertificate(ctx, c.FormValue("certificate"), c.FormValue("key"))
	}
	if code := status(err); err != nil && code == http.StatusInternalServerError {
		return err
	} else if err != nil {
		return s.showSettings(c, code, settingsPage{CertError: sentence(err), CertTyped: c.FormValue("certificate")}) // the key is typed again
	}
	s.flash(c, text)
	return c.Redirect(http.StatusSeeOther, "/settings")
}
