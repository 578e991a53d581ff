package caddylti

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-lti/lti/internal/outbox"
)

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
		"Registrations whose grade service does not answer, so that scores for it wait, by platform.",
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
	// Registrations of several sites may share a name.
	type sums struct {
		final   map[outbox.State]int64
		waiting int
		down    float64
	}
	byName := make(map[string]*sums)
	for queue, s := range b.outbox.Stats() {
		sum := byName[queueName(queue)]
		if sum == nil {
			sum = &sums{final: make(map[outbox.State]int64)}
			byName[queueName(queue)] = sum
		}
		for state, n := range s.Final {
			sum.final[state] += n
		}
		sum.waiting += s.Queued + s.Sending
		if s.Down {
			sum.down++
		}
	}
	for platform, sum := range byName {
		for state, n := range sum.final {
			ch <- prometheus.MustNewConstMetric(scoresTotal, prometheus.CounterValue, float64(n), platform, string(state))
		}
		ch <- prometheus.MustNewConstMetric(scoresWaiting, prometheus.GaugeValue, float64(sum.waiting), platform)
		ch <- prometheus.MustNewConstMetric(platformDown, prometheus.GaugeValue, sum.down, platform)
	}
}
