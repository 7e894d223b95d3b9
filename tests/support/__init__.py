"""What tests share: small lakes and runs, samples and fakes of the world's edge."""
