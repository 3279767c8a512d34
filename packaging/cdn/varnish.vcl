vcl 4.1;

# Varnish as an edge in front of Ringfort. tests/tests/e2e/cdn/varnish.rs runs this very file in Varnish 7.1, with
# another port of the backend and another secret. To change: the backend, the secret, who may purge. Varnish speaks
# plain HTTP to backends: what is not on the same host or in the same private network goes through a tunnel of TLS
# (stunnel, a local nginx). Where such a tunnel stands before Varnish, client.ip is the tunnel's: let nobody purge
# through it.

backend ringfort {
    .host = "127.0.0.1";
    .port = "9000";
    .connect_timeout = 2s;
    .first_byte_timeout = 30s;
    .between_bytes_timeout = 30s;
}

# Ringfort's own hosts: [notify.purge.NAME] url = "http://EDGE:6081".
acl purgers {
    "127.0.0.1";
    "::1";
}

# One object has one name here, that by which Ringfort purges: percent-encoded but for letters, digits and -._~/
# with digits in capitals. Browsers send some signs as they are.
sub canonical_url {
    set req.url = regsuball(req.url, "!", "%21");
    set req.url = regsuball(req.url, "\$", "%24");
    set req.url = regsuball(req.url, "&", "%26");
    set req.url = regsuball(req.url, "'", "%27");
    set req.url = regsuball(req.url, "\(", "%28");
    set req.url = regsuball(req.url, "\)", "%29");
    set req.url = regsuball(req.url, "\*", "%2A");
    set req.url = regsuball(req.url, "\+", "%2B");
    set req.url = regsuball(req.url, ",", "%2C");
    set req.url = regsuball(req.url, ";", "%3B");
    set req.url = regsuball(req.url, "=", "%3D");
    set req.url = regsuball(req.url, ":", "%3A");
    set req.url = regsuball(req.url, "@", "%40");
    set req.url = regsuball(req.url, "%a([0-9A-Fa-f])", "%A\1");
    set req.url = regsuball(req.url, "%b([0-9A-Fa-f])", "%B\1");
    set req.url = regsuball(req.url, "%c([0-9A-Fa-f])", "%C\1");
    set req.url = regsuball(req.url, "%d([0-9A-Fa-f])", "%D\1");
    set req.url = regsuball(req.url, "%e([0-9A-Fa-f])", "%E\1");
    set req.url = regsuball(req.url, "%f([0-9A-Fa-f])", "%F\1");
    set req.url = regsuball(req.url, "%([0-9A-F])a", "%\1A");
    set req.url = regsuball(req.url, "%([0-9A-F])b", "%\1B");
    set req.url = regsuball(req.url, "%([0-9A-F])c", "%\1C");
    set req.url = regsuball(req.url, "%([0-9A-F])d", "%\1D");
    set req.url = regsuball(req.url, "%([0-9A-F])e", "%\1E");
    set req.url = regsuball(req.url, "%([0-9A-F])f", "%\1F");
}

sub vcl_recv {
    # The query would choose other things than the object.
    set req.url = regsub(req.url, "\?.*$", "");
    call canonical_url;
    if (req.method == "PURGE") {
        if (client.ip !~ purgers) {
            return (synth(405));
        }
        return (purge);
    }
    if (req.method != "GET" && req.method != "HEAD") {
        return (synth(405));
    }
    # Nothing of a visitor's reaches the origin or decides what is kept.
    unset req.http.Authorization;
    unset req.http.Cookie;
    # What no browser sends: a name that purges do not know is not kept. It may be an object's all the same: signs that
    # need no code (%61), a slash in a key that has one (%2F), other signs without one.
    if (req.url !~ "^/[A-Za-z0-9/._~%-]*$" ||
        req.url ~ "%(?![0-9A-F][0-9A-F])" ||
        req.url ~ "%(2[DEF]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])") {
        return (pass);
    }
    return (hash);
}

sub vcl_hash {
    # One object is one, under whatever name of the edge it is asked for, so that one purge finds it.
    hash_data(req.url);
    return (lookup);
}

sub vcl_backend_fetch {
    set bereq.http.Host = "ringfort";
    set bereq.http.X-Origin-Secret = "the secret of the bucket's origin";
}

sub vcl_backend_response {
    # Errors are not kept; when the origin is ill, what was good before is sent for a while.
    if (beresp.status >= 500 && bereq.is_bgfetch) {
        return (abandon);
    }
    if (beresp.status >= 400) {
        set beresp.ttl = 0s;
        set beresp.grace = 0s;
        set beresp.uncacheable = true;
        return (deliver);
    }
    # What says nothing of its freshness is not kept: Varnish would do so for two minutes.
    if (!beresp.http.Cache-Control && !beresp.http.Expires) {
        set beresp.ttl = 0s;
        set beresp.uncacheable = true;
        return (deliver);
    }
    # Behind its time an object is sent for so long while a new one is fetched, and asked for again by its ETag.
    set beresp.grace = 1m;
    set beresp.keep = 1d;
}

sub vcl_deliver {
    if (obj.hits > 0) {
        set resp.http.X-Cache-Status = "HIT";
    } else {
        set resp.http.X-Cache-Status = "MISS";
    }
    unset resp.http.x-amz-request-id;
    unset resp.http.x-amz-id-2;
    unset resp.http.Surrogate-Key;
    unset resp.http.Cache-Tag;
}
