package caddylti

import "github.com/prometheus/client_golang/prometheus"

// scoreMetrics tells Caddy's metrics what became of scores, and what waits.
type scoreMetrics struct{ app *App }

var (
	scoresTotal = prometheus.NewDesc("caddy_lti_scores_total",
		"Scores that came to their end since the server started, by platform and state: delivered, replaced, skipped or dead.",
		[]string{"platform", "state"}, nil)
	scoresWaiting = prometheus.NewDesc("caddy_lti_scores_waiting",
		"Cells of gradebooks for which a score waits to be delivered, by platform.",
		[]string{"platform"}, nil)
	platformDown = prometheus.NewDesc("caddy_lti_platform_down",
		"1 where the platform's grade service does not answer, so that scores for it wait.",
		[]string{"platform"}, nil)
)

// Describe implements prometheus.Collector.
func (m *scoreMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- scoresTotal
	ch <- scoresWaiting
	ch <- platformDown
}

// Collect implements prometheus.Collector. It opens nothing.
func (m *scoreMetrics) Collect(ch chan<- prometheus.Metric) {
	m.app.mu.Lock()
	b := m.app.backend
	m.app.mu.Unlock()
	if b == nil {
		return
	}
	for platform, s := range b.outbox.Stats() {
		for state, n := range s.Final {
			ch <- prometheus.MustNewConstMetric(scoresTotal, prometheus.CounterValue, float64(n), platform, string(state))
		}
		down := 0.0
		if s.Down {
			down = 1
		}
		ch <- prometheus.MustNewConstMetric(scoresWaiting, prometheus.GaugeValue, float64(s.Queued+s.Sending), platform)
		ch <- prometheus.MustNewConstMetric(platformDown, prometheus.GaugeValue, down, platform)
	}
}
