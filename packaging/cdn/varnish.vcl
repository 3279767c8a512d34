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

sub vcl_recv {
    if (req.method == "PURGE") {
        if (client.ip !~ purgers) {
            return (synth(405));
        }
        return (purge);
    }
    if (req.method != "GET" && req.method != "HEAD") {
        return (synth(405));
    }
    # The query would choose other things than the object.
    set req.url = regsub(req.url, "\?.*$", "");
    # Nothing of a visitor's reaches the origin or decides what is kept.
    unset req.http.Authorization;
    unset req.http.Cookie;
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
