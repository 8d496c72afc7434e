"""What Perfetto needs of a Chrome trace."""

NUMBER = (int, float)


def check(test, trace):
    """Every event has the fields of its kind, and the tracks that events are on have names."""
    events = trace["traceEvents"]
    test.assertTrue(events)
    named, used = set(), set()
    for event in events:
        test.assertIsInstance(event["name"], str, event)
        test.assertIn(event["ph"], ("X", "M", "C", "i"), event)
        for field in ("ts", "pid", "tid"):
            test.assertIsInstance(event[field], NUMBER, event)
        if event["ph"] == "X":
            test.assertIsInstance(event["dur"], NUMBER, event)
            test.assertGreaterEqual(event["dur"], 0, event)
            used.add((event["pid"], event["tid"]))
        if event["ph"] == "M" and event["name"] == "thread_name":
            named.add((event["pid"], event["tid"]))
    test.assertLessEqual(used, named)
