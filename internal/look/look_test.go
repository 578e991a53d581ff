package look

import (
	"math"
	"regexp"
	"strconv"
	"testing"
)

// WCAG 2.2 §1.4.3 and §1.4.11: text 4.5 to 1, outlines 3 to 1, light and dark.
func TestContrast(t *testing.T) {
	schemes := regexp.MustCompile(`:root \{[^}]*\}`).FindAllString(CSS, -1)
	if len(schemes) != 2 {
		t.Fatalf("%d colour schemes", len(schemes))
	}
	for i, scheme := range schemes {
		colours := make(map[string]float64)
		for _, m := range regexp.MustCompile(`--(\w+): #([0-9a-f]{6})`).FindAllStringSubmatch(scheme, -1) {
			colours[m[1]] = luminance(t, m[2])
		}
		for _, pair := range []struct {
			front, back string
			least       float64
		}{
			{"ink", "paper", 4.5},
			{"ink", "ground", 4.5},
			{"soft", "paper", 4.5},
			{"soft", "ground", 4.5},
			{"mark", "paper", 4.5},
			{"mark", "ground", 4.5},
			{"bad", "paper", 4.5},
			{"bad", "ground", 4.5},
			{"good", "paper", 3},
			{"doubt", "paper", 3},
		} {
			a, okA := colours[pair.front]
			b, okB := colours[pair.back]
			if !okA || !okB {
				t.Fatalf("scheme %d: no %s or no %s", i, pair.front, pair.back)
			}
			if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); ratio < pair.least {
				t.Errorf("scheme %d: %s on %s has a contrast of %.2f, want %.1f", i, pair.front, pair.back, ratio, pair.least)
			}
		}
	}
}

// luminance is the relative luminance that WCAG defines.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}
