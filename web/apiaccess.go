package web

import (
	"context"
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
}
