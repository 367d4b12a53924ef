package web

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
)

// backupAPI registers the download of all state. It needs scope admin; see needs.
func (s *Server) backupAPI(a huma.API) {
	huma.Register(a, huma.Operation{OperationID: "backup", Method: http.MethodGet, Path: "/backup", Summary: "Download a backup of all state",
		Description: "A .tar.gz for `hatchery restore`. It holds every secret of the appliance. What does not end as a whole .tar.gz failed; the appliance's log says why.",
		Responses: map[string]*huma.Response{"200": {Description: "the backup", Content: map[string]*huma.MediaType{
			"application/gzip": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}}}, s.sendBackup)
}

func (s *Server) sendBackup(ctx context.Context, _ *none) (*huma.StreamResponse, error) {
	if s.cfg.Backup == nil {
		return nil, problem(fmt.Errorf("backup: this appliance offers none here: %w", ErrNotHere))
	}
	if err := s.noteSite(ctx, topicBackup, "A backup was downloaded by "+caller(ctx).By+"."); err != nil {
		return nil, problem(err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		w := humaecho.Unwrap(hc).Response()
		out, err := startStream(w)
		if err == nil {
			w.Header().Set("Content-Type", "application/gzip")
			w.Header().Set("Cache-Control", "no-store")
			err = s.cfg.Backup(out)
		}
		if err != nil {
			s.log.Error("backup for a download: make room or look at the data folder", "err", err)
		}
	}}, nil
}
