package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/inventory"
)

// maxBackup bounds a backup that is put back, in bytes.
const maxBackup = 4 << 30

// takesBackup reports whether a path takes a whole backup, which is larger than maxBody.
func takesBackup(path string) bool {
	return path == "/settings/restore" || path == "/api/v1/restore"
}

// restore hands a backup to the appliance, which checks it, restarts and puts it in the place of its state.
func (s *Server) restore(ctx context.Context, body io.Reader) error {
	if s.cfg.Restore == nil {
		return fmt.Errorf("restore: this appliance takes no backup here; stop it and use hatchery restore: %w", ErrNotHere)
	}
	if err := s.idle(); err != nil {
		return err
	}
	return s.cfg.Restore(body, func() error {
		return s.noteSite(ctx, topicBackup, "A backup was put in the place of the state by "+caller(ctx).By+"; the appliance restarts with it.")
	})
}

// restoreAPI registers the way back of a backup. It needs scope admin; see needs.
func (s *Server) restoreAPI(e *echo.Group, a huma.API) {
	e.POST("/restore", s.restoreBody)
	a.OpenAPI().AddOperation(&huma.Operation{OperationID: "restore", Method: http.MethodPost, Path: "/restore", Summary: "Put a backup in the place of the state, and restart",
		Description: "The body is what `GET /backup` gave. It is checked first; what was there is kept in a folder beside it. Open jobs end as failed. Refused while a job runs.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/gzip": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}},
		Responses:   map[string]*huma.Response{"202": {Description: "it is good; the appliance restarts with it"}, "default": {Description: "a problem"}}})
}

func (s *Server) restoreBody(c echo.Context) error {
	if _, err := startStream(c.Response()); err != nil {
		return err
	}
	if err := s.restore(c.Request().Context(), http.MaxBytesReader(c.Response(), c.Request().Body, maxBackup)); err != nil {
		return err
	}
	return c.NoContent(http.StatusAccepted)
}

// restoreForm takes the settings page's form: the word that confirms it, then the file.
func (s *Server) restoreForm(c echo.Context) error {
	err := s.uploadedBackup(c)
	if err == nil {
		return s.render(c, http.StatusOK, "restarting", restartingPage{base: base{Title: "Restarting", Nav: "settings", Now: s.cfg.Now(), Version: s.cfg.Version},
			Text: "The backup is good. The appliance starts anew with it; sign in again with the password of that time."})
	}
	code := status(err)
	if code == http.StatusInternalServerError {
		return err
	}
	return s.showSettings(c, code, settingsPage{RestoreError: sentence(err)})
}

func (s *Server) uploadedBackup(c echo.Context) error {
	if _, err := startStream(c.Response()); err != nil { // a large file takes as long as it takes
		return err
	}
	parts, err := c.Request().MultipartReader()
	if err != nil {
		return fmt.Errorf("this form could not be read: %w: %w", err, inventory.ErrInvalid)
	}
	typed := ""
	for {
		p, err := parts.NextPart()
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("choose the backup file: %w", inventory.ErrInvalid)
		case err != nil:
			return fmt.Errorf("the upload broke off; nothing was changed: %w: %w", err, inventory.ErrInvalid)
		case p.FormName() == "typed":
			word, err := io.ReadAll(io.LimitReader(p, 64))
			if err != nil {
				return fmt.Errorf("the upload broke off; nothing was changed: %w", inventory.ErrInvalid)
			}
			typed = strings.TrimSpace(string(word))
		case p.FormName() == "file" && typed != "restore":
			return fmt.Errorf("type the word restore to confirm that all of today's state is replaced: %w", inventory.ErrInvalid)
		case p.FormName() == "file" && p.FileName() == "":
			return fmt.Errorf("choose the backup file: %w", inventory.ErrInvalid)
		case p.FormName() == "file":
			return s.restore(c.Request().Context(), io.LimitReader(p, maxBackup))
		}
	}
}
