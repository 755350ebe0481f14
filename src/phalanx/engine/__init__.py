"""Who answers the effects of a round: the in-process engine, with or without a journal."""
