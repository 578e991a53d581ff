package caddylti

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddy-lti/lti/internal/doctor"
	"github.com/caddy-lti/lti/internal/page"
)

// Only a request that was made within the process, for that block, passes the gate
// for the doctor: where it says that it comes from does not matter.
func TestOnlyTheDoctorLooks(t *testing.T) {
	h, other := new(Handler), new(Handler)
	request := func(from string, block *Handler) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = from
		if block != nil {
			r = r.WithContext(context.WithValue(r.Context(), lookKey{}, block))
		}
		return r
	}
	for name, tt := range map[string]struct {
		r    *http.Request
		want bool
	}{
		"the doctor's":         {request(lookAddr, h), true},
		"for another block":    {request(lookAddr, other), false},
		"that address alone":   {request(lookAddr, nil), false},
		"from another address": {request("127.0.0.1:4711", h), false},
	} {
		if got := h.looks(tt.r); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Right after a registration a platform may not give tokens yet, which is no
// failure.
func TestChecksAfterRegistration(t *testing.T) {
	for _, tt := range []struct {
		check doctor.Check
		level doctor.Level
		want  string
	}{
		{doctor.CheckJWKS, doctor.Failure, page.CheckFailed},
		{doctor.CheckJWKS, doctor.OK, page.CheckOK},
		{doctor.CheckClock, doctor.Warning, page.CheckNote},
		{doctor.CheckToken, doctor.Failure, page.CheckNote},
		{doctor.CheckScopes, doctor.Failure, page.CheckNote},
	} {
		got := checks([]doctor.Finding{{Check: tt.check, Level: tt.level, Text: "seen", Mend: "mend", Whose: doctor.Finding{}.Whose}})
		if len(got) != 1 || got[0].State != tt.want || got[0].Text != "seen" || got[0].Mend != "mend" {
			t.Errorf("%s %s: %+v", tt.check, tt.level, got)
		}
	}
}
