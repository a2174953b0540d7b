# Purchases of the CDNOW data set as files that `batchwright run` reads, one for each operation.
#
#   awk -v operation=cashback -f cdnow.awk purchases.txt > cashback.csv
#   batchwright run cashback cashback.csv
#
# A line of the data set is a customer, a day (YYYYMMDD), a number of CDs and what they cost. The number of the line is the
# transaction's id: two equal lines are two purchases. What cost nothing is no purchase that points are awarded for.
#
# operation is `customers`, `cashback`, `redeem` (100 points of every customer, whether they are there or not) or
# `balance`.

BEGIN {
    if (operation == "customers") print "customerId,customerAttributes.joinDate"
    else if (operation == "cashback") print "customerId,transactionId,transactionTime,amount"
    else if (operation == "redeem") print "customerId,transactionId,transactionTime,points"
    else if (operation == "balance") print "customerId"
    else { print "operation must be customers, cashback, redeem or balance" > "/dev/stderr"; exit 2 }
}

{ sub(/\r$/, "") }

NF == 4 {
    day = substr($2, 1, 4) "-" substr($2, 5, 2) "-" substr($2, 7, 2)
    if (operation == "cashback") {
        if ($4 + 0 > 0) print $1 ",cdnow-" NR "," day "T00:00:00Z," $4
    } else if (!seen[$1]++) {
        if (operation == "customers") print $1 "," day
        else if (operation == "redeem") print $1 ",redeem-" $1 ",2022-12-31T00:00:00Z,100"
        else print $1
    }
}
