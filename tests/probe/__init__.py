"""What a hostile guest can send: crafted frames by kind, sent in a lab, looked for everywhere."""
