package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/caddy-lti/lti/internal/fault"
	"github.com/caddy-lti/lti/internal/httpx"
)

var (
	connectionURL = define(rule{
		CheckConnection, "invalid_url", Failure, fault.ToolAdmin,
		"correct the address in the platform's block", "",
	})
	connectionNoHost = define(rule{
		CheckConnection, "no_such_host", Failure, fault.ToolAdmin,
		"compare the address with the one that the platform shows; if it is right, look why this server's DNS does not know the name",
		"enter the name in the DNS, or correct url in the lti block",
	})
	connectionDNS = define(rule{
		CheckConnection, "dns_down", Failure, fault.ToolAdmin,
		"see that this server can ask a DNS server (/etc/resolv.conf; in a container, its network)",
		"see that the DNS servers of the domain answer, and that this machine can ask one",
	})
	connectionPrivate = define(rule{CheckConnection, "private", Failure, fault.ToolAdmin, "", ""}) // the error says what helps
	connectionRefused = define(rule{
		CheckConnection, "refused", Failure, fault.PlatformAdmin,
		"start the platform's web server, or open its port to this one",
		"see that Caddy runs and listens there, and that no firewall turns connections away",
	})
	connectionTimeout = define(rule{
		CheckConnection, "timeout", Failure, fault.PlatformAdmin,
		"see that the platform answers, and that no firewall between both drops the packets",
		"see that no firewall drops the packets, and that the address is this server's",
	})
	connectionBroken = define(rule{
		CheckConnection, "broken", Failure, fault.PlatformAdmin,
		"see that the platform's web server, and what is in front of it, answers this server",
		"see what is in front of this server: the connection ends there",
	})
	connectionCanceled = define(rule{CheckConnection, "canceled", Note, fault.Nobody, "", ""})

	certificateExpired = define(rule{
		CheckCertificate, "expired", Failure, fault.PlatformAdmin,
		"renew the certificate; if it is good, this server's clock is wrong",
		"see why Caddy's log says that it could not be renewed; if it is good, the clock of this machine is wrong",
	})
	certificateAuthority = define(rule{
		CheckCertificate, "authority", Failure, fault.PlatformAdmin,
		"send the intermediate certificates along; an authority of the school's own has to be put among those that this server's system trusts",
		"platforms will not trust it: use a certificate of a public authority, as Caddy gets one by itself for a public name",
	})
	certificateSelf = define(rule{
		CheckCertificate, "self_signed", Failure, fault.PlatformAdmin,
		"use a certificate of an authority that everybody trusts; for a test, put this one among those that this server's system trusts",
		"platforms will not trust it: use a certificate of a public authority, as Caddy gets one by itself for a public name",
	})
	certificateName = define(rule{
		CheckCertificate, "name", Failure, fault.PlatformAdmin,
		"use a certificate for this name; perhaps the address was meant to have another",
		"see that the site's address in the Caddyfile is the name in url, and that nothing else answers at it",
	})
	certificateBad = define(rule{
		CheckCertificate, "invalid", Failure, fault.PlatformAdmin,
		"use a certificate for servers that follows the rules",
		"use a certificate for servers that follows the rules",
	})
	certificateSoon = define(rule{
		CheckCertificate, "expires_soon", Warning, fault.ToolAdmin,
		"see why Caddy's log says that it could not be renewed, or renew it yourself", "",
	})
	certificateNotTLS = define(rule{
		CheckCertificate, "no_tls", Failure, fault.PlatformAdmin,
		"switch TLS on at this port, or correct the port of the address",
		"switch TLS on at this port, or correct the port in url",
	})
	certificateHandshake = define(rule{
		CheckCertificate, "handshake", Failure, fault.PlatformAdmin,
		"allow TLS 1.2 or 1.3 with a current cipher; ask for no client certificate",
		"allow TLS 1.2 or 1.3 with a current cipher; ask for no client certificate",
	})
)

// reach finds out why a request for a URL got no answer.
func (r *report) reach(rawURL string, err error) {
	host := hostOf(rawURL)
	private, isPrivate := errors.AsType[*httpx.PrivateAddressError](err)
	dns, isDNS := errors.AsType[*net.DNSError](err)
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.Canceled):
		r.broken(connectionCanceled, "the check was broken off")
	case isPrivate:
		r.brokenMend(connectionPrivate, "if that is meant, allow it in the global lti options: http_client { allow_private "+private.Addr.String()+" }",
			"%s is %s (%s), and private addresses are not asked", private.Host, private.Addr.Addr(), private.Kind)
	case isDNS && dns.IsNotFound:
		r.broken(connectionNoHost, "the name %s is not in the DNS", host)
	case isDNS:
		r.broken(connectionDNS, "the DNS does not say where %s is: %s", host, dns.Err)
	case r.certificate(host, err):
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, errRefusedOnWindows):
		r.broken(connectionRefused, "%s refuses connections", hostPort(rawURL))
	case errors.As(err, &timeout) && timeout.Timeout():
		r.broken(connectionTimeout, "%s did not answer in time: %v", host, err)
	default:
		r.broken(connectionBroken, "the connection to %s failed: %v", host, err)
	}
}

// errRefusedOnWindows is how Windows says ECONNREFUSED.
const errRefusedOnWindows = syscall.Errno(10061)

// certificate reports whether TLS is the reason, and if so, adds why.
func (r *report) certificate(host string, err error) bool {
	bad, isBad := errors.AsType[x509.CertificateInvalidError](err)
	unknown, isUnknown := errors.AsType[x509.UnknownAuthorityError](err)
	other, isOther := errors.AsType[x509.HostnameError](err)
	alert, isAlert := errors.AsType[*net.OpError](err)
	isAlert = isAlert && (alert.Op == "remote error" || alert.Op == "local error") // so does crypto/tls call them
	_, isPlain := errors.AsType[tls.RecordHeaderError](err)
	_, isVerify := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case isBad && bad.Reason == x509.Expired && time.Now().Before(bad.Cert.NotBefore):
		r.broken(certificateExpired, "the certificate of %s is not valid before %s", host, day(bad.Cert.NotBefore))
	case isBad && bad.Reason == x509.Expired:
		r.broken(certificateExpired, "the certificate of %s expired on %s", host, day(bad.Cert.NotAfter))
	case isUnknown && unknown.Cert != nil && selfSigned(unknown.Cert):
		r.broken(certificateSelf, "the certificate of %s is signed by nobody but itself", host)
	case isUnknown:
		r.broken(certificateAuthority, "the certificate of %s is of an authority that is not known here, or was sent without those in between", host)
	case isOther:
		r.broken(certificateName, "the certificate is not for %s: %v", host, other)
	case isPlain:
		r.broken(certificateNotTLS, "%s answers, but not with TLS", host)
	case isAlert:
		r.broken(certificateHandshake, "%s does not agree on TLS: %v", host, alert.Err)
	case isBad, isVerify:
		r.broken(certificateBad, "the certificate of %s is not valid: %v", host, err)
	default:
		return false
	}
	return true
}

func selfSigned(c *x509.Certificate) bool {
	return c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

func day(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

// hostPort is where a URL connects to.
func hostPort(rawURL string) string {
	origin, err := httpx.Origin(rawURL)
	if err != nil {
		return hostOf(rawURL)
	}
	return origin
}
