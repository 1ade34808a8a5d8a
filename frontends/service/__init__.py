"""The service: predictors behind the Open Inference Protocol, and pruning over HTTP; it translates words and errors."""
