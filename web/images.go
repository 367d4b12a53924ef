package web

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"
)

// useImage makes a kept stage-0 image the one that machines netboot, and returns its version.
func (s *Server) useImage(ctx context.Context, arch, digest string) (version string, err error) {
	if s.cfg.Images == nil {
		return "", fmt.Errorf("stage-0 image %s: this appliance does not keep images: %w", clip(digest, 64), ErrNotHere)
	}
	if err := s.cfg.Images.UseImage(arch, digest); err != nil {
		return "", err
	}
	version = digest
	for _, v := range s.media().Versions {
		if v.Arch == arch && v.Digest == digest {
			version = first(v.Version, digest)
		}
	}
	return version, s.noteSite(ctx, topicMedia, "Stage-0 "+version+" for "+arch+" is used from now on, by "+caller(ctx).By+".")
}

type useImageIn struct {
	Arch   string `path:"arch" enum:"x86_64,aarch64"`
	Digest string `path:"digest" maxLength:"64" doc:"of one of stage0_versions"`
}

// imageAPI registers the choice among the kept stage-0 images. It needs scope admin; see needs.
func (s *Server) imageAPI(a huma.API) {
	op(a, http.MethodPost, "/media/stage0/{arch}/{digest}/use", "use-stage0", "Give a kept stage-0 image to machines that netboot from now on",
		func(ctx context.Context, in *useImageIn) (*struct{ Body MediaStatus }, error) {
			_, err := s.useImage(ctx, in.Arch, in.Digest)
			return &struct{ Body MediaStatus }{s.media()}, err
		})
}

func (s *Server) useImageForm(c echo.Context) error {
	arch := c.Param("arch")
	version, err := s.useImage(c.Request().Context(), arch, c.Param("digest"))
	if code := status(err); err != nil && code == http.StatusInternalServerError {
		return err
	} else if err != nil {
		return s.showMedia(c, code, mediaPage{Err: sentence(err)})
	}
	s.flash(c, "Machines of kind "+clip(arch, 20)+" that netboot from now on get "+version+". Those in mid-boot keep what they began with.")
	return c.Redirect(http.StatusSeeOther, "/media")
}
