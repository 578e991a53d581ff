package lti

import "testing"

func TestPlatformScope(t *testing.T) {
	for _, tc := range []struct {
		name  string
		scope UserScope
		guid  string
		want  string
	}{
		{"client", ScopeClient, "school-a", ""},
		{"unset is client", "", "school-a", ""},
		{"tenant", ScopeTenant, "school-a", "school-a"},
		// Without a tenant it must not become wider, but narrower.
		{"tenant unknown", ScopeTenant, "", "deployment-7"},
		{"deployment", ScopeDeployment, "school-a", "7"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &Platform{UserScope: tc.scope}
			l := &Launch{DeploymentID: "7", ToolPlatform: ToolPlatform{GUID: tc.guid}}
			if got := p.Scope(l); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestHasDeployment(t *testing.T) {
	listed := &Platform{Deployments: []string{"1", "a:b"}}
	for id, want := range map[string]bool{"1": true, "a:b": true, "": false, "2": false, "A:B": false, "any": false} {
		if got := listed.HasDeployment(id); got != want {
			t.Errorf("listed: HasDeployment(%q) = %v", id, got)
		}
		if !(&Platform{AnyDeployment: true}).HasDeployment(id) {
			t.Errorf("any: HasDeployment(%q) = false", id)
		}
	}
	// The word is the configuration's; here it is an id like any other.
	if !(&Platform{Deployments: []string{"any"}}).HasDeployment("any") || (&Platform{Deployments: []string{"any"}}).HasDeployment("1") {
		t.Error("a deployment called any")
	}
	if (&Platform{}).HasDeployment("1") {
		t.Error("no deployment is configured, one may launch")
	}
}
