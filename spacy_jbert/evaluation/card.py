def with_card(outcome, meta):
    return meta
