"""The console as people use it, in Chromium: sign in, make a bucket, upload, browse, preview, link, delete.

Whatever a page logs, refuses or breaks on the way fails the test. Each page is pictured in light, in dark
and on a phone, below RINGFORT_PICTURES.
"""

import gzip
import hashlib
import os
import pathlib
import shutil
import tempfile
import urllib.request

from playwright.sync_api import sync_playwright

CONSOLE = os.environ["RINGFORT_CONSOLE"] + "/console/"
WITHOUT_MASTER = os.environ["RINGFORT_CONSOLE_WITHOUT_MASTER"] + "/console/"
S3 = os.environ["RINGFORT_S3"]
BACKUPS = pathlib.Path(os.environ["RINGFORT_BACKUPS"])
ACCESS_KEY = os.environ["AWS_ACCESS_KEY_ID"]
SECRET_KEY = os.environ["AWS_SECRET_ACCESS_KEY"]
PICTURES = pathlib.Path(os.environ["RINGFORT_PICTURES"])
LARGE_BYTES = int(os.environ.get("RINGFORT_CONSOLE_BYTES", 200_000_000))

# What is said of answers that a test expects to be refused.
EXPECTED_LOG = "Failed to load resource: the server responded with a status of "

# Keys that look like markup, like paths or like nothing at all.
ODD_KEYS = [
    "<img src=x onerror=window.hit=1>.txt",
    "<script>window.hit=1</script>.txt",
    "\"quotes' & <b>bold&amp;</b>.txt",
    "javascript:window.hit=1",
    "50%25 off %2F%00.txt",
    "ünïcode 🚀 e\u0301.txt",
    "  spaces  twice  .txt",
    "?query=1&x#fragment.txt",
    "plus+and;semicolon.txt",
    "a/../b.txt",
    "./dot.txt",
    "..",
    ".",
    "//double//slash.txt",
    "trailing/",
    "new\nline.txt",
    "tab\tkey.txt",
    "control\u0001key.txt",
    "back\\slash.txt",
]

TEN_PIXELS = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000a0000000a08020000000250"
    "58ea0000001249444154789c63601805a360148c02080000045e00016a2a8a"
    "170000000049454e44ae426082"
)



def a_pdf():
    """One empty page."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>", b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>"]
    whole, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(whole))
        whole += b"%d 0 obj%sendobj\n" % (number, content)
    start = len(whole)
    whole += b"xref\n0 4\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    return whole + b"trailer<</Size 4/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % start


A_PDF = a_pdf()


class Watch:
    """What pages complain of."""

    def __init__(self, page):
        self.complaints = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self.hear)
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message) or dialog.dismiss())

    def hear(self, message):
        if message.type in ("error", "warning") and not message.text.startswith(EXPECTED_LOG):
            self.complaints.append(message.text)


def equal(found, expected):
    assert found == expected, (found, expected)


def sign_in(page, access_key=ACCESS_KEY, secret_key=SECRET_KEY, first="Dashboard", console=CONSOLE):
    page.goto(console)
    page.get_by_label("Access key").fill(access_key)
    page.get_by_label("Secret key").fill(secret_key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name=first).wait_for()


def go(page, place, console=CONSOLE):
    page.goto(f"{console}#/{place}")
    page.locator("h1").wait_for()
    page.wait_for_function("() => !document.querySelector('.loading')")


def encoded(page, text):
    return page.evaluate("text => encodeURIComponent(text)", text)


def in_page(page, script, argument):
    """Runs a script with the console's own S3 module."""
    return page.evaluate(
        "async ([script, argument]) => { const s3 = await import('/console/s3.js');"
        " return await SCRIPTS[script](s3, argument); }".replace("SCRIPTS[script]", f"({script})"),
        [script, argument],
    )


def put(page, bucket, key, text, kind="text/plain"):
    script = "(s3, [b, k, text, kind]) => s3.put(b, k, {}, text, {'Content-Type': kind}).then(() => 0)"
    in_page(page, script, [bucket, key, text, kind])


def wrong_password(page):
    page.goto(CONSOLE)
    page.get_by_label("Access key").fill(ACCESS_KEY)
    page.get_by_label("Secret key").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("alert").get_by_text("not right").wait_for()
    equal(page.context.cookies(), [])


def make_bucket(page, name):
    go(page, "buckets")
    page.get_by_role("button", name="Create bucket").first.click()
    page.get_by_role("dialog").get_by_label("Name").fill(name)
    page.get_by_role("button", name="Create", exact=True).click()
    page.get_by_role("link", name=name, exact=True).wait_for()


def make_large_file(path):
    """Its digest; every block differs."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        left, number = LARGE_BYTES, 0
        while left:
            block = hashlib.sha256(str(number).encode()).digest() * 32768
            block = block[: min(left, len(block))]
            file.write(block)
            digest.update(block)
            left, number = left - len(block), number + 1
    return digest.hexdigest()


def upload_large(page, bucket):
    directory = tempfile.mkdtemp()
    try:
        path = os.path.join(directory, "large.bin")
        digest = make_large_file(path)
        go(page, f"b/{bucket}")
        page.evaluate("() => { window.seen = []; setInterval(() => {"
                      " const bar = document.querySelector('.uploads progress');"
                      " if (bar) window.seen.push(bar.value); }, 20); }")
        page.locator("input[type=file]").first.set_input_files(path)
        page.get_by_role("heading", name="Uploads done").wait_for(timeout=90_000)
    finally:
        shutil.rmtree(directory)
    seen = page.evaluate("window.seen")
    assert len({value for value in seen if 0 < value < LARGE_BYTES}) >= 5, seen
    equal(seen, sorted(seen))
    page.get_by_role("link", name="large.bin", exact=True).wait_for()
    page.get_by_role("button", name="Close").click()
    etag = in_page(page, "(s3, [b, k]) => s3.head(b, k).then(h => h.get('etag'))", [bucket, "large.bin"])
    parts = -(-LARGE_BYTES // (16 << 20))
    assert etag.endswith(f'-{parts}"'), etag
    return digest


def make_link(page, bucket, key):
    go(page, f"o/{bucket}/{encoded(page, key)}")
    page.get_by_role("button", name="Link", exact=True).click()
    page.get_by_role("button", name="Make the link").click()
    link = page.get_by_role("link", name="Open it").get_attribute("href")
    page.get_by_role("button", name="Cancel").click()
    return link


def open_link(link):
    digest = hashlib.sha256()
    with urllib.request.urlopen(link) as answer:
        while block := answer.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def upload_by_drop(page, bucket):
    go(page, f"b/{bucket}/{encoded(page, 'dropped/')}")
    files = page.evaluate_handle(
        "() => { const data = new DataTransfer();"
        " data.items.add(new File(['one'], 'one.txt', { type: 'text/plain' }));"
        " data.items.add(new File(['two'], 'two.md', { type: 'text/markdown' })); return data; }"
    )
    page.dispatch_event(".drop", "dragenter", {"dataTransfer": files})
    page.dispatch_event(".drop", "drop", {"dataTransfer": files})
    page.get_by_role("link", name="one.txt", exact=True).wait_for()
    page.get_by_role("link", name="two.md", exact=True).wait_for()
    page.get_by_role("link", name=bucket, exact=True).click()
    page.get_by_role("link", name="dropped/", exact=True).wait_for()


def upload_a_folder(page, bucket):
    directory = pathlib.Path(tempfile.mkdtemp())
    try:
        (directory / "tree" / "deep").mkdir(parents=True)
        (directory / "tree" / "top.txt").write_text("top")
        (directory / "tree" / "deep" / "leaf.txt").write_text("leaf")
        go(page, f"b/{bucket}")
        page.locator("input[webkitdirectory]").set_input_files(directory / "tree")
        page.get_by_role("link", name="tree/", exact=True).click()
        page.get_by_role("link", name="deep/", exact=True).click()
        page.get_by_role("link", name="leaf.txt", exact=True).click()
        page.locator("pre", has_text="leaf").wait_for()
    finally:
        shutil.rmtree(directory)


def previews(page, bucket):
    page.locator("body").wait_for()
    script = """(s3, [b, bytes]) => s3.put(b, 'picture.png', {}, Uint8Array.from(bytes), {'Content-Type': 'image/png'}).then(() => 0)"""
    in_page(page, script, [bucket, list(TEN_PIXELS)])
    go(page, f"o/{bucket}/picture.png")
    page.wait_for_function("() => document.querySelector('img.preview')?.naturalWidth === 10")
    put(page, bucket, "evil.html", "<script>window.hit=1</script>", "text/html")
    put(page, bucket, "evil.svg", "<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "image/svg+xml")
    for key in ("evil.html", "evil.svg"):
        go(page, f"o/{bucket}/{key}")
        page.locator("pre", has_text="<script>").wait_for()
        # Neither address shows it as a page.
        for way in ("s3", "view"):
            with page.expect_download() as download:
                page.evaluate("url => { location.href = url; }", f"/console/{way}/{bucket}%2F{key}")
            equal(download.value.suggested_filename, key)


def odd_keys(page, bucket):
    for key in ODD_KEYS:
        put(page, bucket, key, f"content of {key}")
    found = in_page(page, "(s3, b) => s3.listObjects(b, {delimiter: ''}).then(l => l.objects.map(o => o.key))", bucket)
    equal(set(found), set(ODD_KEYS))
    for key in ODD_KEYS:
        go(page, f"b/{bucket}")
        # Down through its folders to the object.
        parts = key.rstrip("/").split("/") if key.rstrip("/") else [key]
        folders = key.split("/")[:-1]
        for at in range(len(folders)):
            prefix = "/".join(folders[: at + 1]) + "/"
            place = f"#/b/{bucket}/{encoded(page, prefix)}"
            page.locator(f'a.name[href="{place}"]').click()
            page.wait_for_function("p => location.hash === p && !document.querySelector('.loading')", arg=place)
        place = f"#/o/{bucket}/{encoded(page, key)}"
        if key.endswith("/"):
            page.goto(CONSOLE + place)
        else:
            page.locator(f'a.name[href="{place}"]').click()
        name = parts[-1] + ("/" if key.endswith("/") else "")
        page.wait_for_function("name => document.querySelector('h1').textContent === name", arg=name)
        page.locator("pre").wait_for()
        equal(page.locator("pre").text_content(), f"content of {key}")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        equal(pathlib.Path(download.value.path()).read_text(), f"content of {key}")
    # Links fetch those that a URL can name.
    for key in ("a/../b.txt", "<script>window.hit=1</script>.txt", "new\nline.txt"):
        equal(open_link(make_link(page, bucket, key)), hashlib.sha256(f"content of {key}".encode()).hexdigest())
    go(page, f"b/{bucket}")
    page.get_by_label("Select all").check()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_text("This bucket is empty.").wait_for()
    assert page.evaluate("window.hit") is None


def settings(page, bucket):
    go(page, f"settings/{bucket}/versioning")
    page.get_by_label("Versioning", exact=True).select_option("Enabled")
    save(page)
    go(page, f"settings/{bucket}/lifecycle")
    page.get_by_role("button", name="Add a rule").click()
    page.get_by_label("Keys that begin with").fill('<b>"tmp&/')
    page.get_by_label("Delete objects after (days)").fill("30")
    save(page)
    equal(page.get_by_label("Keys that begin with").input_value(), '<b>"tmp&/')
    go(page, f"settings/{bucket}/cors")
    page.get_by_role("button", name="Add a rule").click()
    page.get_by_label("Origins").fill("https://a.example\nhttps://*.b.example")
    save(page)
    equal(page.get_by_label("Origins").input_value(), "https://a.example\nhttps://*.b.example")
    go(page, f"settings/{bucket}/policy")
    page.get_by_label("Bucket policy").fill("{ not json")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Bucket policy:").wait_for()
    page.get_by_label("Template").select_option("read")
    save(page)
    go(page, f"settings/{bucket}/public")
    page.get_by_text("public", exact=True).wait_for()
    go(page, f"settings/{bucket}/tags")
    page.get_by_role("button", name="Add").click()
    page.get_by_label("Tag 1", exact=True).fill("team")
    page.get_by_label("Value 1", exact=True).fill("storage")
    save(page)
    go(page, f"settings/{bucket}/tags")
    equal(page.get_by_label("Value 1", exact=True).input_value(), "storage")
    go(page, f"settings/{bucket}/quota")
    page.get_by_label("Size").fill("3")
    save(page)
    equal(page.get_by_label("Size").input_value(), "3")
    go(page, f"settings/{bucket}/limits")
    page.get_by_label("Burst").fill("5")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("burst_requests: it needs requests_per_second").wait_for()
    page.get_by_label("Requests per second").fill("100000")
    save(page)
    equal(page.get_by_label("Burst").input_value(), "5")
    equal(page.get_by_label("Concurrent requests").input_value(), "")
    page.get_by_label("Bytes sent per second").fill("100000000000")
    save(page)
    equal(page.get_by_label("Bytes sent per second").input_value(), "100000000000")
    go(page, f"settings/{bucket}/origin")
    page.get_by_label("Default Cache-Control").fill("public, max-age=60")
    page.get_by_label("Send keys as Cache-Tag").check()
    page.get_by_label("Secret header").fill("x-origin-secret")
    page.get_by_label("Secret", exact=True).fill("a-long-secret-of-the-edge")
    save(page)
    page.get_by_text("1 set: leave both empty to keep what there is.").wait_for()
    equal(page.get_by_label("Secret", exact=True).input_value(), "")
    equal(page.get_by_label("Send keys as Cache-Tag").is_checked(), True)
    page.get_by_label("Default Cache-Control").fill("no-cache")
    save(page)
    page.get_by_text("1 set: leave both empty to keep what there is.").wait_for()
    equal(page.get_by_label("Default Cache-Control").input_value(), "no-cache")


def bombs(page, bucket):
    """What its encoding makes small is not shown whole."""
    script = """(s3, [b, bytes]) => s3.put(b, 'bomb.txt', {}, Uint8Array.from(bytes),
        {'Content-Type': 'text/plain', 'Content-Encoding': 'gzip'}).then(() => 0)"""
    in_page(page, script, [bucket, list(gzip.compress(b"a" * (8 << 20)))])
    go(page, f"o/{bucket}/bomb.txt")
    page.get_by_text("The first 256 KiB of").wait_for()
    equal(page.evaluate("document.querySelector('pre.preview').textContent.length"), 256 << 10)


def retention(page):
    """Saving one thing leaves the others as they are, to the second."""
    script = """(s3, [b, k, until]) => s3.put(b, null, {}, undefined, {'x-amz-bucket-object-lock-enabled': 'true'})
        .then(() => s3.put(b, k, {}, 'kept', {'x-amz-object-lock-mode': 'GOVERNANCE',
            'x-amz-object-lock-retain-until-date': until})).then(() => 0)"""
    in_page(page, script, ["locked", "kept.txt", "2040-01-02T03:04:05Z"])
    go(page, "o/locked/kept.txt")
    card = page.locator("section.card").filter(has=page.get_by_role("heading", name="Retention"))
    card.get_by_label("Legal hold").check()
    changes = []
    listener = lambda request: request.method == "PUT" and changes.append(request.url)
    page.on("request", listener)
    card.get_by_role("button", name="Save").click()
    page.get_by_text("Retention saved.").wait_for()
    page.remove_listener("request", listener)
    equal([url.split("?")[1] for url in changes], ["legal-hold="])
    read = "(s3, [b, k]) => s3.read(b, k, {retention: ''}).then(d => d.text('RetainUntilDate'))"
    assert in_page(page, read, ["locked", "kept.txt"]).startswith("2040-01-02T03:04:05")


def versions(page, bucket):
    """In a bucket whose versioning is on."""
    put(page, bucket, "notes.txt", "the first")
    put(page, bucket, "notes.txt", "the second")
    go(page, f"o/{bucket}/notes.txt")
    page.locator("pre", has_text="the second").wait_for()
    page.get_by_role("button", name="Make this version the current one").click()
    page.locator("pre", has_text="the first").wait_for()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_label("Show versions").check()
    page.get_by_role("row", name="notes.txt deleted").wait_for()
    equal(page.get_by_role("row", name="notes.txt").count(), 4)


def api_keys(page, browser):
    go(page, "keys")
    page.get_by_role("button", name="Create API key").click()
    page.get_by_role("dialog").get_by_label("Name").fill("<u>watcher</u>")
    page.get_by_role("button", name="Create", exact=True).click()
    page.get_by_text("shown now and never again").wait_for()
    key = page.get_by_role("dialog").get_by_role("textbox").input_value()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.get_by_role("cell", name="<u>watcher</u>", exact=True).wait_for()
    other = browser.new_page()
    other.goto(CONSOLE)
    other.get_by_role("button", name="Use an API key instead").click()
    other.get_by_label("API key").fill(key)
    other.get_by_role("button", name="Sign in").click()
    other.get_by_text("Read-only").wait_for()
    go(other, "buckets")
    other.get_by_role("button", name="Create bucket").first.click()
    other.get_by_role("dialog").get_by_label("Name").fill("no-bucket")
    other.get_by_role("button", name="Create", exact=True).click()
    other.get_by_text("may only read").wait_for()
    other.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Revoke <u>watcher</u>").click()
    page.get_by_role("button", name="Revoke", exact=True).click()
    other.get_by_role("link", name="Links").click()
    other.get_by_label("Access key").wait_for()
    other.close()


def a_user(browser):
    """Whoever is not root sees what is theirs, and nothing of the server's management."""
    page = browser.new_page()
    sign_in(page, "mallory-key", "mallory-secret", "Buckets")
    page.get_by_text("There are no buckets yet.").wait_for()
    equal(page.get_by_role("link", name="Dashboard").count(), 0)
    go(page, "credentials")
    page.get_by_role("heading", name="Buckets").wait_for()
    make_bucket(page, "mallorys")
    page.get_by_role("link", name="mallorys", exact=True).click()
    page.get_by_text("This bucket is empty.").wait_for()
    go(page, "b/photos")
    page.get_by_role("alert").get_by_text("Access Denied").wait_for()
    page.close()


def save(page):
    page.get_by_role("button", name="Save").click()
    page.locator(".toast", has_text="Saved.").wait_for()
    page.evaluate("document.querySelectorAll('.toast').forEach(note => note.remove())")
    page.wait_for_function("() => !document.querySelector('.loading')")


def credentials(page):
    go(page, "credentials")
    page.get_by_role("button", name="Create credential").click()
    page.get_by_role("dialog").get_by_label("Name").fill("mallory")
    page.get_by_label("Access key").fill("mallory-key")
    page.get_by_label("Secret key").fill("mallory-secret")
    page.get_by_role("button", name="Create", exact=True).click()
    page.get_by_text("shown now and never again").wait_for()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.get_by_role("link", name="mallory").click()
    page.get_by_role("button", name="Add a policy").click()
    page.get_by_role("dialog").get_by_label("Name").fill("reads")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    page.get_by_role("cell", name="reads", exact=True).wait_for()
    limits = page.locator("section.card").filter(has=page.get_by_role("heading", name="Limits"))
    limits.get_by_label("Concurrent requests").fill("9")
    limits.get_by_role("button", name="Save").click()
    page.get_by_text("Saved.").first.wait_for()
    limits.get_by_role("button", name="Remove").wait_for()
    equal(limits.get_by_label("Concurrent requests").input_value(), "9")
    limits.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    limits.get_by_role("button", name="Remove").wait_for(state="detached")
    equal(limits.get_by_label("Concurrent requests").input_value(), "")


def pdfs(page, bucket):
    """A PDF is shown by the S3 port's origin in a tab of its own, and whatever calls itself one is no page."""
    script = """(s3, [b, k, bytes, kind]) => s3.put(b, k, {}, Uint8Array.from(bytes), {'Content-Type': kind}).then(() => 0)"""
    key = "<b>report</b>.pdf"
    for content, kind in ((A_PDF, "application/pdf"), (A_PDF, "application/octet-stream"),
                          (b"<script>window.hit=1</script>", "application/pdf")):
        in_page(page, script, [bucket, key, list(content), kind])
        go(page, f"o/{bucket}/{encoded(page, key)}")
        answers = []
        listener = lambda answer: answer.url.startswith(S3) and answers.append(answer)
        page.context.on("response", listener)
        with page.context.expect_page() as opened:
            page.get_by_role("button", name="Open the PDF in a new tab").click()
        tab = opened.value
        tab.wait_for_url(f"{S3}/{bucket}/**")
        page.context.remove_listener("response", listener)
        headers = answers[0].headers
        equal((headers["content-type"], headers["content-disposition"]), ("application/pdf", "inline"))
        assert "referer" not in answers[0].request.headers and "cookie" not in answers[0].request.headers
        tab.screenshot(path=PICTURES / f"light-pdf-tab-{kind.replace('/', '-')}.png")
        equal(tab.evaluate("[document.contentType, window.opener, window.hit ?? null]"), ["application/pdf", None, None])
        # The console's own address gives it away as a file alone.
        with page.expect_download() as download:
            page.evaluate("url => { location.href = url; }", f"/console/view/{bucket}%2F{encoded(page, key)}")
        equal(pathlib.Path(download.value.path()).read_bytes(), content)
        tab.close()
    in_page(page, script, [bucket, "report.pdf", list(A_PDF), "application/pdf"])


def kms(page, browser):
    go(page, "kms")
    page.get_by_text("There are no KMS keys yet.").wait_for()
    page.get_by_role("button", name="Create KMS key").click()
    page.get_by_role("dialog").get_by_label("Id").fill("<b>bold</b>")
    page.get_by_role("dialog").get_by_role("button", name="Create").click()
    # The browser holds it back; the server would refuse it too.
    assert page.evaluate("document.querySelector('dialog input').validity.patternMismatch")
    refused = "async () => (await (await import('/console/api.js')).call('/api/v1/kms/keys', {method: 'POST', json: {id: '<b>'}}).catch(e => e)).status"
    equal(page.evaluate(refused), 400)
    page.get_by_role("dialog").get_by_label("Id").fill("invoices-2026.a_b")
    page.get_by_role("dialog").get_by_role("button", name="Create").click()
    key = page.get_by_role("row").filter(has_text="invoices-2026.a_b")
    key.get_by_text("enabled", exact=True).wait_for()
    page.get_by_role("button", name="Create KMS key").click()
    page.get_by_role("dialog").get_by_label("Id").fill("invoices-2026.a_b")
    page.get_by_role("dialog").get_by_role("button", name="Create").click()
    page.get_by_role("dialog").get_by_text("there is a key of this id already").wait_for()
    page.get_by_role("dialog").get_by_label("Id").fill("")
    page.get_by_role("dialog").get_by_role("button", name="Create").click()
    page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 2")

    with_key = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "invoices-2026.a_b"}
    write = "(s3, [k, headers]) => s3.put('photos', k, {}, 'sealed', headers).then(() => 200).catch(e => e.code)"
    read = "(s3, k) => s3.send('GET', 'photos', k, {}).then(r => r.text()).catch(e => e.code)"
    equal(in_page(page, write, ["sealed.txt", with_key]), 200)
    key.get_by_role("button", name="Rotate invoices-2026.a_b").click()
    page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    key.get_by_role("cell", name="2", exact=True).wait_for()
    equal(in_page(page, read, "sealed.txt"), "sealed")
    key.get_by_role("button", name="Disable invoices-2026.a_b").click()
    page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    key.get_by_text("disabled", exact=True).wait_for()
    equal(in_page(page, read, "sealed.txt"), "KMS.DisabledException")
    key.get_by_role("button", name="Enable invoices-2026.a_b").click()
    key.get_by_text("enabled", exact=True).wait_for()
    equal(in_page(page, read, "sealed.txt"), "sealed")
    in_page(page, write, ["usual.txt", {"x-amz-server-side-encryption": "aws:kms"}])
    page.get_by_role("button", name="Refresh").click()
    page.get_by_text("usual key", exact=True).wait_for()


def start_backup(page, directory, name=""):
    page.get_by_label("Directory on the server's host").fill(str(directory))
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Start the backup").click()


def backups(page):
    go(page, "backups")
    page.get_by_text("None was begun since the server started.").wait_for()
    start_backup(page, "relative/path")
    assert page.evaluate("document.querySelector('form input').validity.patternMismatch")
    # Its parent is missing: it begins, and says why it has failed.
    start_backup(page, BACKUPS / "<img src=x onerror=window.hit=1>" / "there")
    page.get_by_role("alert").get_by_text("It failed.").wait_for()
    page.get_by_role("alert").get_by_text("<img src=x onerror=window.hit=1>").wait_for()

    # Slow enough to be seen on its way, which goes on while other pages are looked at.
    page.get_by_label("MiB per second").fill("40")
    start_backup(page, BACKUPS, "first")
    bar = page.get_by_role("progressbar", name="Progress of the backup")
    page.wait_for_function("() => document.querySelector('main progress')?.value > 0")
    assert page.get_by_role("button", name="Start the backup").is_disabled()
    page.evaluate("document.querySelectorAll('.toast').forEach(note => note.remove())")
    page.screenshot(path=PICTURES / "light-backup-running.png")
    taken = "async () => (await (await import('/console/api.js')).call('/api/v1/backup', {method: 'POST', json: {directory: '/x'}}).catch(e => e)).status"
    equal(page.evaluate(taken), 409)
    go(page, "buckets")
    go(page, "backups")
    bar.wait_for()
    page.get_by_text("done", exact=True).wait_for(timeout=60_000)
    assert (BACKUPS / "backups" / "first.json").exists()
    command = page.locator("main .copyable input").input_value()
    quoted = "'" + str(BACKUPS).replace("'", "'\\''") + "'"
    equal(command, f"ringfort restore --from {quoted} --generation=first --dry-run")
    equal(page.get_by_label("Directory on the server's host").input_value(), str(BACKUPS))

    page.get_by_label("MiB per second").fill("0")
    page.get_by_label("Keep the newest").fill("1")
    start_backup(page, BACKUPS, "second")
    page.get_by_role("term").filter(has_text="Removed").wait_for(timeout=60_000)
    equal([path.name for path in (BACKUPS / "backups").iterdir()], ["second.json"])
    assert page.evaluate("window.hit") is None


def uploads(page, bucket):
    """Several of one key lie on both sides of where the first page ends."""
    same = "m/<i>same</i>&%2F+ é"
    keys = [f"a/{at:03}" for at in range(198)] + [same] * 5 + ["z/<script>window.hit=1</script>"]
    begin = "(s3, [b, keys]) => Promise.all(keys.map(k => s3.send('POST', b, k, {uploads: ''}))).then(() => 0)"
    for at in range(0, len(keys), 20):
        in_page(page, begin, [bucket, keys[at : at + 20]])
    go(page, f"uploads/{bucket}")
    page.get_by_text("200 uploads so far").wait_for()
    page.get_by_role("button", name="Load more").click()
    page.get_by_text("204 uploads", exact=True).wait_for()
    equal(page.get_by_role("button", name="Load more").count(), 0)
    equal(page.evaluate("[...document.querySelectorAll('tbody td:first-child')].map(cell => cell.textContent)"), keys)
    page.wait_for_function("() => [...document.querySelectorAll('tbody .number')].every(cell => cell.textContent === '0 B in 0 parts')")
    for left in range(4, -1, -1):
        page.get_by_role("button", name=f"Abort the upload of {same}").last.click()
        page.get_by_role("dialog").get_by_role("button", name="Abort the upload").click()
        page.get_by_text(f"{199 + left} uploads", exact=True).wait_for()
    found = in_page(page, "(s3, b) => s3.read(b, null, {uploads: '', prefix: 'm/'}).then(d => d.all('Upload').length)", bucket)
    equal(found, 0)
    page.get_by_label("Bucket").select_option("photos")
    page.get_by_text("No uploads are under way in this bucket.").wait_for()
    page.get_by_label("Bucket").select_option(bucket)
    page.get_by_text("199 uploads", exact=True).wait_for()
    assert page.evaluate("window.hit") is None


NAMELESS = """() => [...document.querySelectorAll('button, a[href], input, select, textarea, progress')]
    .filter(e => e.offsetParent !== null && !e.hidden)
    .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || e.title || e.labels?.length
        || e.querySelector('img[alt]:not([alt=""])')))
    .map(e => e.outerHTML)"""


def pictures(browser, bucket):
    """Every page in light, dark and narrow; nothing wider than a phone, nothing without a name."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    pages = ["", "buckets", f"b/{bucket}", f"o/{bucket}/picture.png", f"o/{bucket}/report.pdf", f"settings/{bucket}/overview",
             f"settings/{bucket}/lifecycle", f"settings/{bucket}/policy", f"settings/{bucket}/cors",
             f"settings/{bucket}/encryption", f"settings/{bucket}/limits", "credentials", "credentials/1", "keys", "links",
             "uploads", "uploads/many-uploads", "kms", "backups"]
    for kind, scheme, width, height in (("light", "light", 1280, 800), ("dark", "dark", 1280, 800), ("narrow", "light", 390, 844)):
        page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": height})
        watch = Watch(page)
        page.goto(CONSOLE)
        page.get_by_label("Access key").wait_for()
        page.screenshot(path=PICTURES / f"{kind}-sign-in.png")
        sign_in(page)
        for place in pages:
            go(page, place)
            page.wait_for_function("() => document.querySelector('main').innerText.length > 40")
            name = place.replace("/", "-").replace(bucket, "bucket") or "dashboard"
            page.screenshot(path=PICTURES / f"{kind}-{name}.png")
            equal(page.evaluate(NAMELESS), [])
            overflow = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
            assert overflow <= 0, (kind, place, overflow)
        equal(watch.complaints, [])
        page.close()
        picture_without_master(browser, kind, scheme, width, height)


def picture_without_master(browser, kind, scheme, width, height):
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": height})
    watch = Watch(page)
    sign_in(page, console=WITHOUT_MASTER)
    go(page, "kms", WITHOUT_MASTER)
    page.get_by_role("alert").get_by_text("no master key").wait_for()
    equal(page.get_by_role("button", name="Create KMS key").count(), 0)
    page.screenshot(path=PICTURES / f"{kind}-kms-without-master.png")
    overflow = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, (kind, overflow)
    equal(watch.complaints, [])
    page.close()


def delete_all(page, bucket):
    begin = "(s3, [b, k]) => s3.send('POST', b, k, {uploads: ''}).then(() => 0)"
    for key in ("begun/a b+%41&<ü", "begun/\u0001"):
        in_page(page, begin, [bucket, key])
    go(page, "buckets")
    page.get_by_role("button", name=f"Delete {bucket}").click()
    page.get_by_role("dialog").get_by_role("textbox").fill(bucket)
    page.get_by_role("dialog").get_by_role("button", name="Empty and delete").click()
    page.get_by_text(f"The bucket {bucket} was deleted.").wait_for()
    equal(page.get_by_role("link", name=bucket, exact=True).count(), 0)


def sign_out(page):
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in").wait_for()
    equal(page.context.cookies(), [])
    equal(page.request.get(CONSOLE + "session").status, 401)


with sync_playwright() as playwright:
    # No sandbox: tests may run as root, and the pages are our own.
    browser = playwright.chromium.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    )
    page = browser.new_page(accept_downloads=True)
    page.set_default_timeout(20_000)
    watch = Watch(page)
    wrong_password(page)
    sign_in(page)
    cookie = page.context.cookies()[0]
    equal((cookie["httpOnly"], cookie["sameSite"], cookie["path"]), (True, "Strict", "/"))
    make_bucket(page, "photos")
    digest = upload_large(page, "photos")
    equal(open_link(make_link(page, "photos", "large.bin")), digest)
    upload_by_drop(page, "photos")
    upload_a_folder(page, "photos")
    previews(page, "photos")
    bombs(page, "photos")
    retention(page)
    make_bucket(page, "odd-keys")
    odd_keys(page, "odd-keys")
    settings(page, "photos")
    versions(page, "photos")
    credentials(page)
    a_user(browser)
    api_keys(page, browser)
    pdfs(page, "photos")
    kms(page, browser)
    backups(page)
    make_bucket(page, "many-uploads")
    uploads(page, "many-uploads")
    go(page, "links")
    page.get_by_role("cell", name="large.bin", exact=True).wait_for()
    pictures(browser, "photos")
    delete_all(page, "photos")
    equal(watch.complaints, [])
    sign_out(page)
    browser.close()
print("the console works")
