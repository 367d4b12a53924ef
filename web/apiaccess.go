package web

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/staged-hive/hatchery/inventory"
)

// Token is an API token as programs see it. The secret is in the answer that made it and nowhere else.
type Token struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Scope     Scope     `json:"scope" enum:"read,operate,admin"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`
	ExpiresAt time.Time `json:"expires_at,omitzero" doc:"left out = never"`
	Expired   bool      `json:"expired"`
}

func tokenJSON(t *tokenRecord, now time.Time) Token {
	return Token{ID: t.ID, Name: t.Name, Scope: t.Scope, CreatedAt: t.Created, CreatedBy: t.By, ExpiresAt: t.Expires, Expired: t.Ended(now)}
}

// NewToken is a token with its secret.
type NewToken struct {
	Token
	Secret string `json:"token" doc:"the secret; it is shown this once"`
}

type newTokenIn struct {
	Body struct {
		Name    string     `json:"name" doc:"who uses it" maxLength:"63"`
		Scope   Scope      `json:"scope" enum:"read,operate,admin"`
		Expires *time.Time `json:"expires,omitempty" doc:"when it ends; left out = never"`
	}
}

// accessAPI registers what is about who may use the appliance. All of it needs scope admin; see needs.
func (s *Server) accessAPI(a huma.API) {
	op(a, http.MethodGet, "/tokens", "list-tokens", "List API tokens, without their secrets", func(context.Context, *none) (*listOut[Token], error) {
		out := items([]Token(nil))
		err := s.cfg.Store.View(func(tx *inventory.Tx) error {
			all, err := tokens(tx)
			for i := range all {
				out.Body.Items = append(out.Body.Items, tokenJSON(&all[i], s.cfg.Now()))
			}
			return err
		})
		return out, err
	})
	op(a, http.MethodPost, "/tokens", "create-token", "Make an API token; its secret is in the answer and nowhere else", func(ctx context.Context, in *newTokenIn) (*struct{ Body NewToken }, error) {
		n := newToken{Name: in.Body.Name, Scope: in.Body.Scope}
		if in.Body.Expires != nil {
			n.Expires = *in.Body.Expires
		}
		t, secret, err := s.issueToken(ctx, n)
		return &struct{ Body NewToken }{NewToken{tokenJSON(&t, s.cfg.Now()), secret}}, err
	})
	op(a, http.MethodDelete, "/tokens/{id}", "revoke-token", "Revoke an API token", func(ctx context.Context, in *struct {
		ID string `path:"id" maxLength:"64"`
	}) (*none, error) {
		_, err := s.revokeToken(ctx, in.ID)
		return nil, err
	})
	op(a, http.MethodGet, "/sessions", "list-sessions", "List the open sessions of browsers, newest first", func(ctx context.Context, _ *none) (*listOut[Session], error) {
		all, err := s.openSessions(s.sessionOf(ctx))
		return items(all), err
	})
	op(a, http.MethodDelete, "/sessions/{id}", "end-session", "End a session; its open pages stop at once", func(ctx context.Context, in *struct {
		ID string `path:"id" maxLength:"64"`
	}) (*none, error) {
		_, err := s.endSession(ctx, in.ID)
		return nil, err
	})
	op(a, http.MethodDelete, "/sessions", "end-sessions", "End all sessions; API tokens stay", func(ctx context.Context, _ *none) (*none, error) {
		return nil, s.endSessions(ctx)
	})
	op(a, http.MethodPut, "/password", "set-password", "Set the admin password; all sessions end, API tokens stay", s.putPassword)
	op(a, http.MethodGet, "/appliance", "get-appliance", "Read the appliance's version, address and certificate", func(context.Context, *none) (*struct{ Body Appliance }, error) {
		v := Appliance{Version: s.cfg.Version, URL: s.URL(), Time: s.cfg.Now()}
		if c := s.inUse.Load(); c != nil && c.Leaf != nil {
			by := shownBy(c)
			v.Certificate = &Certificate{Pin: by.pin, Fingerprint: by.fingerprint, EndsAt: c.Leaf.NotAfter}
		}
		return &struct{ Body Appliance }{v}, nil
	})
}

// Appliance is what programs need to know of the appliance itself.
type Appliance struct {
	Version     string       `json:"version"`
	URL         string       `json:"url"`
	Time        time.Time    `json:"time" doc:"the appliance's clock"`
	Certificate *Certificate `json:"certificate,omitempty" doc:"left out over plain HTTP"`
}

// Certificate is what the web listener's certificate is known by.
type Certificate struct {
	Pin         string    `json:"pin" doc:"of its public key, as curl's --pinnedpubkey takes it; it outlives renewals"`
	Fingerprint string    `json:"fingerprint" doc:"SHA-256 of the certificate in hex, as browsers show it"`
	EndsAt      time.Time `json:"ends_at"`
}

type putPasswordIn struct {
	Body struct {
		Password string `json:"password" doc:"10 characters or more, 72 bytes or fewer" maxLength:"256"`
		Current  string `json:"current,omitempty" doc:"the password that is set now, or the admin token; not needed over the socket" maxLength:"256"`
	}
}

// putPassword sets the password for who shows the one of now: an API token alone, which ends, must not buy a password, which does not.
func (s *Server) putPassword(ctx context.Context, in *putPasswordIn) (*none, error) {
	p := secret(in.Body.Password)
	if !isLocal(ctx) {
		w := caller(ctx)
		if !s.attempts.allow(w.From, s.cfg.Now()) {
			return nil, huma.ErrorWithHeaders(huma.NewError(http.StatusTooManyRequests, tooMany), http.Header{"Retry-After": {retryAfter}})
		}
		if _, with, err := s.known(in.Body.Current); err != nil {
			return nil, err
		} else if with == "" {
			s.refused(w.From, wrongCurrent)
			return nil, fmt.Errorf("current: neither the password that is set now nor the admin token: %w", inventory.ErrInvalid)
		}
	}
	if err := checkPassword(p, p); err != nil {
		return nil, err
	}
	_, err := s.replacePassword(ctx, p)
	return nil, err
}
